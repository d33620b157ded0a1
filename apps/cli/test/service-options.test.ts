import { expect, test } from "vitest";
import { type Config, schema } from "../src/config/schema/mod.ts";
import type { Setting } from "../src/config/setting.ts";
import { coordOptionsOf, nodeOptionsOf, proxyOptionsOf } from "../src/wiring/service-options.ts";
import { load } from "./config-support.ts";

const services = { coord: coordOptionsOf, node: nodeOptionsOf, proxy: proxyOptionsOf };

/** Settings that commands use themselves, or that are in a policy. */
const elsewhere = [
  ...["coord.listen", "coord.advertise", "coord.meta", "proxy.listen"],
  ...["node.listen", "node.advertise", "node.data", "node.drainFor"],
  ...["node.wal.backend", "node.wal.fileBytes"],
  ...[...schema.keys()].filter((path) => path.startsWith("coord.balancer.vchannelFair.")),
];

/** All options by their place; those that are functions are asked. */
function leaves(value: unknown, place = ""): Record<string, unknown> {
  if (/\.(pressure|policies)$/.test(place)) return {};
  if (typeof value === "function") return leaves(value(), place);
  if (typeof value !== "object" || value === null) return { [place]: value };
  const inner = Object.entries(value).map(([key, one]) => leaves(one, `${place}.${key}`));
  return Object.assign({}, ...inner);
}

/** Another value than the default. */
function otherValue({ kind, standard }: Setting<unknown>): unknown {
  const numbers = [Number(standard) + 1, Number(standard) - 1, Number(standard) / 2, 1024 * 1024];
  const others = [...numbers, standard !== true, "pchannel-fair"];
  return others.find((value) => value !== standard && kind.read(value) === value);
}

test.each(Object.entries(services))(
  "each setting of %s has an option of its own, which changes at once if it is hot",
  async (name, optionsOf) => {
    const { config } = await load({});
    const taken: string[] = [];
    for (const [path, setting] of schema) {
      if (!path.startsWith(`${name}.`) || elsewhere.includes(path)) continue;
      let current: Config = config;
      const options = optionsOf(() => current);
      const before = leaves(options);
      const changedIn = (all: Record<string, unknown>): string[] =>
        Object.keys(before).filter((place) => all[place] !== before[place]);
      current = { ...config, [path]: otherValue(setting) };
      const changed = changedIn(leaves(optionsOf(() => current)));
      expect(changed, path).toHaveLength(1);
      expect(changedIn(leaves(options)), path).toEqual(setting.hot ? changed : []);
      expect(taken, path).not.toContain(changed[0]);
      taken.push(...changed);
    }
    expect(taken.length).toBeGreaterThan(5);
  },
);

test("weights and the step are those in force with each plan", async () => {
  const { config } = await load({});
  let current: Config = config;
  const { balancer } = coordOptionsOf(() => current);
  const [policy] = balancer?.policies ?? [];
  const names = ["a", "b", "c", "d", "e", "f"];
  const layout = {
    nodes: ["n-1", "n-2"],
    pchannels: names.map((name) => ({ name, node: "n-1", pinned: false, collections: [name] })),
  };
  const moves = (changes: Partial<Config>): number => {
    current = { ...config, ...changes };
    return policy?.plan(layout).length ?? 0;
  };
  expect(moves({})).toBe(3);
  expect(moves({ "coord.balancer.vchannelFair.maxStep": 1 })).toBe(1);
  expect(moves({ "coord.balancer.vchannelFair.tolerance": 100 })).toBe(0);
  const weightless = {
    "coord.balancer.vchannelFair.pchannelWeight": 0,
    "coord.balancer.vchannelFair.vchannelWeight": 0,
    "coord.balancer.vchannelFair.affinityWeight": 0,
  };
  expect(moves(weightless)).toBe(0);
  for (const path of Object.keys(weightless))
    expect([path, moves({ ...weightless, [path]: 5 })]).toEqual([path, 3]);
});
