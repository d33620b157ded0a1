import { type ConfigSources, type LoadedConfig, loadConfig } from "../src/config/load.ts";
import type { ServiceName } from "../src/config/setting.ts";
import { tempFile } from "./support.ts";

/** What a test gives a service to run with. */
export interface TestSources {
  service?: ServiceName;
  /** The text of a file. */
  file?: string;
  env?: ConfigSources["env"];
  flags?: Record<string, unknown>;
}

/** Loads a configuration, of standalone unless it is said otherwise. */
export async function load(sources: TestSources): Promise<LoadedConfig> {
  const { service = "standalone", file, env = {}, flags = {} } = sources;
  const given = Object.entries(flags).map(
    ([path, raw]) => [path, { raw, place: "--set" }] as const,
  );
  return await loadConfig(service, {
    file: file === undefined ? undefined : await tempFile("millrace.yaml", file),
    env,
    flags: new Map(given),
  });
}

/** The message of the error with which loading ends. */
export async function refusal(sources: TestSources): Promise<string> {
  return await load(sources).then(
    () => "nothing is refused",
    (error: Error) => error.message,
  );
}
