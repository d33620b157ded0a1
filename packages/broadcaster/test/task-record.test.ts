import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeTask, encodeTask, type PendingTask } from "../src/task-record.ts";
import { key } from "./world.ts";

const result = fc.record({
  id: fc.record({ sequence: fc.maxSafeNat(), index: fc.nat() }),
  tick: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  resume: fc.maxSafeNat(),
});
const vchannels = fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 5 });
const pending: fc.Arbitrary<PendingTask> = fc.record({
  state: fc.constant("pending" as const),
  id: fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
  epoch: fc.nat(),
  keys: fc.array(fc.string().map((name) => key(name))),
  idempotencyKey: fc.string(),
  results: fc.array(fc.tuple(fc.string(), result)).map((entries) => new Map(entries)),
  control: fc.string(),
  leftOut: fc.array(fc.string()),
  message: fc.record({
    type: fc.nat(),
    header: fc.uint8Array({ maxLength: 50 }).map((bytes) => new Uint8Array(bytes)),
    payload: fc.uint8Array({ maxLength: 50 }).map((bytes) => new Uint8Array(bytes)),
  }),
  ackWhen: fc.constantFrom("appended" as const, "flushed" as const),
  vchannels,
  acked: vchannels.map((names) => new Set(names)),
  since: fc.maxSafeNat(),
});

test("a task is read as it was written", () => {
  fc.assert(
    fc.property(pending, (task) => {
      expect(decodeTask("k", encodeTask(task))).toEqual(task);
      const { message, ackWhen: _, vchannels: __, acked: ___, since, ...base } = task;
      const ended = { ...base, state: "done" as const, type: message.type, endedAt: since };
      expect(decodeTask("k", encodeTask(ended))).toEqual(ended);
    }),
  );
});

test("a task that was cut or is something else is DATA_LOSS with its key", () => {
  const [task] = fc.sample(pending, { numRuns: 1, seed: 1 });
  const bytes = encodeTask(task as PendingTask);
  for (let length = 0; length < bytes.length; length++) {
    expect(() => decodeTask("the/key", bytes.slice(0, length))).toThrow("the/key");
  }
  expect(() => decodeTask("the/key", new TextEncoder().encode("[]\n"))).toThrow("the/key");
});
