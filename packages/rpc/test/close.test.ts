import { constants, createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { createClient } from "@connectrpc/connect";
import type { Routes } from "@millrace/rpc";
import { createHttpTransport, listen } from "@millrace/rpc/node";
import { AllocatorService, AssignmentService } from "@millrace/types/gen";
import { expect, test } from "vitest";

/** A server whose unary call waits for `release` and whose stream has no end of its own. */
async function start() {
  let entered = (): void => undefined;
  let release = (): void => undefined;
  const inside = new Promise<void>((resolve) => {
    entered = resolve;
  });
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const routes: Routes = (router) => {
    router.service(AllocatorService, {
      async allocateIds({ count }) {
        entered();
        await gate;
        return { first: 1n, count };
      },
    });
    router.service(AssignmentService, {
      async *discover(_request, { signal }) {
        yield {};
        await new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
      },
    });
  };
  const server = await listen({ routes, host: "127.0.0.1", port: 0 });
  return { server, inside, release };
}

test("close lets a call under way finish, and takes no new ones", async () => {
  const { server, inside, release } = await start();
  const client = createClient(AllocatorService, createHttpTransport(server.url));
  const call = client.allocateIds({ count: 5 });
  await inside;
  const closed = server.close(10_000);
  const late = createClient(AllocatorService, createHttpTransport(server.url));
  await expect(late.allocateIds({ count: 1 })).rejects.toMatchObject({ code: "UNAVAILABLE" });
  release();
  expect((await call).count).toBe(5);
  await closed;
});

test("close lets a call over HTTP/1.1 finish, and does not wait for its idle connection", async () => {
  const { server, inside, release } = await start();
  const call = fetch(`${server.url}/millrace.v1.AllocatorService/AllocateIds`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"count":5}',
  });
  await inside;
  const closed = server.close(10_000);
  release();
  expect(await (await call).json()).toEqual({ first: "1", count: 5 });
  await closed;
});

test("close ends streams, which have no end of their own, with ON_SHUTDOWN", async () => {
  const { server } = await start();
  const client = createClient(AssignmentService, createHttpTransport(server.url));
  const controller = new AbortController();
  const iterator = client.discover({}, { signal: controller.signal })[Symbol.asyncIterator]();
  await iterator.next();
  const end = expect(iterator.next()).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
  await server.close(10_000);
  await end;
  controller.abort();
});

test("what is still under way after the grace is cut, and its outcome is unknown", async () => {
  const { server, inside, release } = await start();
  const client = createClient(AllocatorService, createHttpTransport(server.url));
  const cut = expect(client.allocateIds({ count: 5 })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    retryable: true,
    maybeApplied: true,
  });
  await inside;
  await server.close(0);
  await cut;
  release();
});

test("a call that is given up after its timeout has an unknown outcome", async () => {
  const { server, release } = await start();
  const client = createClient(AllocatorService, createHttpTransport(server.url));
  await expect(client.allocateIds({ count: 1 }, { timeoutMs: 50 })).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
    maybeApplied: true,
  });
  release();
  await server.close(0);
});

test("a stream that ends without an answer and without an error fails its call", async () => {
  const server = createServer();
  server.on("stream", (stream) => stream.close(constants.NGHTTP2_NO_ERROR));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const transport = createHttpTransport(`http://127.0.0.1:${port}`);
  const client = createClient(AllocatorService, transport);
  await expect(client.allocateIds({ count: 1 })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    maybeApplied: true,
  });
  transport.close();
  server.close();
});

test("what is cut is told so, whenever the cut comes", async () => {
  for (let round = 0; round < 30; round++) {
    const { server, inside, release } = await start();
    const transport = createHttpTransport(server.url);
    const cut = expect(
      createClient(AllocatorService, transport).allocateIds({ count: 5 }),
    ).rejects.toMatchObject({ code: "UNAVAILABLE", maybeApplied: true });
    await inside;
    await server.close(0);
    await cut;
    release();
    transport.close();
  }
});
