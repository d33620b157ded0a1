import { execFile } from "node:child_process";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { createClient } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { clientErrors, createApp } from "@millrace/rpc";
import { createHttpTransport, type Listener, listen } from "@millrace/rpc/node";
import { MillraceError } from "@millrace/types";
import { AllocatorService, AssignmentService, ProxyService } from "@millrace/types/gen";
import { health } from "@millrace/types/gen-grpc";
import { afterEach, expect, test } from "vitest";
import { fixture } from "./fixture.ts";

const buf = fileURLToPath(new URL("../../../node_modules/.bin/buf", import.meta.url));
const open: Listener[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close(0)));
});

async function start(options: { maxBodyBytes?: number; origins?: string[] } = {}) {
  const { routes, ...rest } = fixture();
  const app = createApp({ routes });
  const server = await listen({ routes, app, host: "127.0.0.1", port: 0, ...options });
  open.push(server);
  return { url: server.url, port: server.port, server, ...rest };
}

function post(url: string, body: BodyInit, headers: Record<string, string> = {}) {
  return fetch(url, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...headers },
  });
}

async function rejection(promise: Promise<unknown>): Promise<MillraceError> {
  const error = await promise.then(
    () => expect.fail("the call succeeded"),
    (reason: unknown) => reason,
  );
  if (!MillraceError.is(error)) expect.fail(`not a MillraceError: ${String(error)}`);
  return error;
}

test("answers JSON over HTTP/1.1, with the error's details readable", async () => {
  const { url } = await start();
  const good = await post(`${url}/millrace.v1.AllocatorService/AllocateTimestamps`, '{"count":3}');
  expect(await good.json()).toEqual({ first: "1835008", count: 3, leaseMs: 50 });

  const bad = await post(`${url}/millrace.v1.AllocatorService/AllocateIds`, "{}");
  expect(bad.status).toBe(400);
  expect(await bad.json()).toMatchObject({
    code: "invalid_argument",
    message: "count must be from 1 to 10",
    details: [{ debug: { code: "INVALID_ARGUMENT", field: "count", expected: "10" } }],
  });
});

test("answers the app's paths over HTTP/1.1, and 404 elsewhere", async () => {
  const { url } = await start();
  expect(await (await fetch(`${url}/healthz`)).text()).toBe("ok");
  expect((await fetch(`${url}/nothing`)).status).toBe(404);
});

const transports = {
  "connect over h2c": (baseUrl: string) => createHttpTransport(baseUrl),
  "connect over HTTP/1.1": (baseUrl: string) =>
    clientErrors(createConnectTransport({ baseUrl, httpVersion: "1.1" })),
  gRPC: (baseUrl: string) => clientErrors(createGrpcTransport({ baseUrl })),
  "gRPC-Web over HTTP/1.1": (baseUrl: string) =>
    clientErrors(createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })),
  "gRPC-Web over h2c": (baseUrl: string) =>
    clientErrors(createGrpcWebTransport({ baseUrl, httpVersion: "2" })),
};

test.each(Object.entries(transports))(
  "%s: calls, streams and errors arrive as they were meant",
  async (_name, transportTo) => {
    const { url, seen } = await start();
    const transport = transportTo(url);
    const allocator = createClient(AllocatorService, transport);
    expect((await allocator.allocateTimestamps({ count: 3 })).first).toBe(7n << 18n);

    const refused = await rejection(allocator.allocateIds({ count: 0 }));
    expect(refused).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "count must be from 1 to 10",
      field: "count",
      expected: "10",
      retryable: false,
      retryAfterMs: 25,
    });
    const inner = await rejection(allocator.allocateIds({ count: 1 }));
    expect(inner.code).toBe("INNER");
    expect(inner.message).not.toContain("secret");

    const controller = new AbortController();
    const stream = createClient(AssignmentService, transport).discover(
      {},
      { signal: controller.signal },
    );
    const revisions: unknown[] = [];
    const ended = (async () => {
      for await (const response of stream) {
        revisions.push(response.version?.revision);
        if (revisions.length === 3) controller.abort();
      }
    })();
    expect((await rejection(ended)).code).toBe("CANCELLED");
    expect(revisions).toEqual([1n, 2n, 3n]);
    await seen.streamAborted;

    const events: unknown[] = [];
    const broken = (async () => {
      const proxy = createClient(ProxyService, transport);
      for await (const { event } of proxy.tail({})) events.push(event.case);
    })();
    expect(await rejection(broken)).toMatchObject({ code: "OUT_OF_RANGE", expected: "42" });
    expect(events).toEqual(["heartbeat"]);
  },
);

test.each(["connect", "grpc", "grpcweb"])(
  "buf curl finds the services by reflection and calls them over %s",
  async (protocol) => {
    const { url } = await start();
    const run = async (...args: string[]) => {
      const common = ["curl", "--http2-prior-knowledge", "--protocol", protocol];
      const { stdout } = await promisify(execFile)(buf, [...common, ...args]);
      return stdout;
    };
    expect((await run("--list-services", url)).split("\n")).toEqual(
      expect.arrayContaining(["grpc.health.v1.Health", "millrace.v1.ProxyService"]),
    );
    const method = `${url}/millrace.v1.ProxyService/Insert`;
    const body = JSON.stringify({ collection: "twice", rows: [{ name: "a" }] });
    expect(JSON.parse(await run("-d", body, method))).toEqual({ duplicate: true });
  },
);

test("health says whether calls are served, as a whole and by service", async () => {
  const { url, serving } = await start();
  const client = createClient(health.Health, createHttpTransport(url));
  const { HealthCheckResponse_ServingStatus: Status } = health;
  expect((await client.check({})).status).toBe(Status.SERVING);
  serving.value = false;
  expect((await client.check({ service: "millrace.v1.ProxyService" })).status).toBe(
    Status.NOT_SERVING,
  );
  expect((await rejection(client.check({ service: "no.Such" }))).code).toBe("NOT_FOUND");
});

test("takes gzip, and refuses broken gzip and broken JSON as bad input", async () => {
  const { url } = await start();
  const method = `${url}/millrace.v1.AllocatorService/AllocateTimestamps`;
  const packed = gzipSync('{"count":3}');
  const good = await post(method, packed, { "content-encoding": "gzip" });
  expect(await good.json()).toMatchObject({ count: 3 });

  for (const broken of [packed.subarray(0, 12), new TextEncoder().encode("no gzip at all")]) {
    const response = await post(method, broken, { "content-encoding": "gzip" });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ message: expect.stringContaining("gzip") });
  }
  const json = await post(method, '{"count":');
  expect(await json.json()).toMatchObject({ code: "invalid_argument" });
});

test("refuses a body above the limit, announced, chunked or packed", async () => {
  const { url } = await start({ maxBodyBytes: 10_000 });
  const method = `${url}/millrace.v1.AllocatorService/AllocateTimestamps`;
  const large = JSON.stringify({ count: 3, filler: "x".repeat(200_000) });
  const announced = await post(method, large);
  expect(await announced.json()).toMatchObject({
    code: "resource_exhausted",
    message: expect.stringContaining("at most 10000 are allowed"),
  });
  const packed = await post(method, gzipSync(large), { "content-encoding": "gzip" });
  expect(await packed.json()).toMatchObject({ code: "resource_exhausted" });
  const chunked = await fetch(method, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: new Blob([large]).stream(),
    duplex: "half",
  } as RequestInit);
  expect(await chunked.json()).toMatchObject({ code: "resource_exhausted" });
});

test("pages of the allowed origins may call from a browser, others may not", async () => {
  const { url } = await start({ origins: ["https://app.example"] });
  const method = `${url}/millrace.v1.AllocatorService/AllocateTimestamps`;
  const preflight = (origin: string) =>
    fetch(method, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST" },
    });
  const good = await preflight("https://app.example");
  expect(good.status).toBe(204);
  expect(good.headers.get("access-control-allow-origin")).toBe("https://app.example");
  expect(good.headers.get("access-control-allow-headers")).toContain("Connect-Protocol-Version");
  const bad = await preflight("https://evil.example");
  expect(bad.headers.get("access-control-allow-origin")).toBeNull();

  const answer = await post(method, '{"count":3}', { origin: "https://app.example" });
  expect(answer.headers.get("access-control-allow-origin")).toBe("https://app.example");
  expect(answer.headers.get("access-control-expose-headers")).toContain("Grpc-Status");
  expect(await answer.json()).toMatchObject({ count: 3 });
});

test("a request that is not HTTP, or has no usable host, does not harm the server", async () => {
  const { url, port } = await start();
  const path = "/millrace.v1.AllocatorService/AllocateTimestamps";
  const send = (text: string) =>
    new Promise<string>((resolve) => {
      let answer = "";
      const socket = connect(port, "127.0.0.1", () => socket.write(text));
      socket.on("data", (chunk) => {
        answer += chunk.toString("latin1");
        if (answer.includes("\r\n\r\n")) socket.destroy();
      });
      socket.on("error", () => undefined);
      socket.on("close", () => resolve(answer));
    });
  expect(await send(`POST ${path} HTTP/1.0\r\n\r\n`)).toContain(" 400 ");
  expect(await send(`POST ${path} HTTP/1.1\r\nhost: ^^\r\n\r\n`)).toContain(" 400 ");
  expect(await send("PR\u0000\u0001 garbage\r\n\r\n")).toContain(" 400 ");
  await send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame but something else altogether");
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
});

test("tells the protocols apart when the first bytes come one by one", async () => {
  const { port } = await start();
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(port, "127.0.0.1", async () => {
      for (const byte of "POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n") {
        await new Promise<void>((sent) => socket.write(byte, () => sent()));
      }
    });
    socket.setNoDelay(true);
    socket.once("data", (chunk) => {
      socket.destroy();
      resolve(chunk.toString("latin1"));
    });
  });
  expect(answer).toContain(" 404 ");
});

test("a port in use is named", async () => {
  const { port } = await start();
  const error = await rejection(listen({ routes: () => undefined, host: "127.0.0.1", port }));
  expect(error.code).toBe("UNAVAILABLE");
  expect(error.message).toContain(`port ${port} of 127.0.0.1 is in use`);
});

test("a server that is not there is unavailable, and nothing was applied", async () => {
  const { server, url } = await start();
  await server.close(0);
  const client = createClient(AllocatorService, createHttpTransport(url));
  expect(await rejection(client.allocateIds({ count: 1 }))).toMatchObject({
    code: "UNAVAILABLE",
    retryable: true,
    maybeApplied: false,
  });
});
