import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import {
  createApp,
  createLocalTransport,
  errorFromDetail,
  errorToDetail,
  fromConnectError,
  toConnectError,
} from "@millrace/rpc";
import { MillraceError } from "@millrace/types";
import { AllocatorService, AssignmentService, ErrorDetailSchema } from "@millrace/types/gen";
import { expect, test } from "vitest";
import { fixture } from "./fixture.ts";

test("each code has the Connect code that generic clients act on", () => {
  const code = (error: MillraceError): Code => toConnectError(error).code;
  expect(code(new MillraceError("INVALID_ARGUMENT", "x"))).toBe(Code.InvalidArgument);
  expect(code(new MillraceError("COLLECTION_NOT_FOUND", "x"))).toBe(Code.NotFound);
  expect(code(new MillraceError("COLLECTION_EXISTS", "x"))).toBe(Code.AlreadyExists);
  expect(code(new MillraceError("RESOURCE_EXHAUSTED", "x"))).toBe(Code.ResourceExhausted);
  expect(code(new MillraceError("OUT_OF_RANGE", "x"))).toBe(Code.OutOfRange);
  expect(code(new MillraceError("DATA_LOSS", "x"))).toBe(Code.DataLoss);
  expect(code(new MillraceError("CHANNEL_FENCED", "x"))).toBe(Code.Unavailable);
  expect(code(new MillraceError("UNIMPLEMENTED", "x"))).toBe(Code.Unimplemented);
});

test("an error in band keeps all it says", () => {
  const error = new MillraceError("UNMATCHED_CHANNEL_TERM", "not at term 3", {
    expected: "4",
    retryAfterMs: 9,
    maybeApplied: true,
  });
  const back = errorFromDetail(create(ErrorDetailSchema, errorToDetail(error)));
  expect(back).toMatchObject({
    code: "UNMATCHED_CHANNEL_TERM",
    message: "not at term 3",
    expected: "4",
    retryAfterMs: 9,
    retryable: true,
    maybeApplied: true,
  });
});

test("a cancelled call is told from a connection that was reset", () => {
  const controller = new AbortController();
  const error = new ConnectError("This operation was aborted", Code.Canceled);
  expect(fromConnectError(error, controller.signal).code).toBe("UNAVAILABLE");
  controller.abort();
  expect(fromConnectError(error, controller.signal).code).toBe("CANCELLED");
});

test("a local transport behaves as the network does", async () => {
  const { routes, seen } = fixture();
  const logged: unknown[] = [];
  const ignore = (): void => undefined;
  const logger = {
    debug: ignore,
    info: ignore,
    warn: ignore,
    error: (_message: string, fields: unknown) => logged.push(fields),
  };
  const transport = createLocalTransport(routes, { logger });
  const allocator = createClient(AllocatorService, transport);
  await expect(allocator.allocateIds({ count: 0 })).rejects.toMatchObject({
    name: "MillraceError",
    code: "INVALID_ARGUMENT",
    field: "count",
  });
  await expect(allocator.allocateIds({ count: 1 })).rejects.toMatchObject({ code: "INNER" });
  expect(logged).toMatchObject([{ error: expect.stringContaining("secret of the inside") }]);

  const controller = new AbortController();
  const stream = createClient(AssignmentService, transport).discover(
    {},
    { signal: controller.signal },
  );
  const iterator = stream[Symbol.asyncIterator]();
  await iterator.next();
  controller.abort();
  await seen.streamAborted;
  await expect(iterator.next()).rejects.toMatchObject({ code: "CANCELLED" });
});

test("a local stream that is aborted ends its handler, which waits for a message to be taken", async () => {
  let ended = (): void => undefined;
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const transport = createLocalTransport((router) => {
    router.service(AssignmentService, {
      async *discover() {
        try {
          for (;;) yield {};
        } finally {
          ended();
        }
      },
    });
  });
  const controller = new AbortController();
  const { signal } = controller;
  for await (const _ of createClient(AssignmentService, transport).discover({}, { signal })) break;
  controller.abort();
  await end;
});

test("the fetch face answers without a server", async () => {
  const app = createApp({ routes: fixture().routes });
  const response = await app.request("/millrace.v1.AllocatorService/AllocateTimestamps", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"count":2}',
  });
  expect(await response.json()).toMatchObject({ count: 2 });
});
