// A durable queue: a job is kept before `append` resolves, is done at least once, and sent twice is one job.
//   node --conditions=source examples/wal-only.ts ./queue "send invoice 17" "send invoice 18"
import { openWal, type WalMessage } from "@millrace/wal";
import { createFileBackend } from "@millrace/wal/file";

const [dir = "./queue", ...jobs] = process.argv.slice(2);
const [job, done] = [1001, 1002]; // Types of one's own.
const message = (type: number, text: string): WalMessage[] => [
  { type, vchannel: "jobs", header: new Uint8Array(0), payload: new TextEncoder().encode(text) },
];
const wal = await openWal({
  backend: createFileBackend({ dir }),
  pchannel: "queue",
  term: Date.now(), // Higher at each start, so that a process that hangs is fenced.
  ticks: { take: (count, after = 0n) => ({ first: after + 1n, count }) },
  vchannels: "any",
});
for (const text of jobs) await wal.append(message(job, text), { idempotencyKey: text });

const open = new Set<string>(); // The jobs without a message that says they are done.
const { signal } = new AbortController();
for await (const { messages } of wal.read({ from: "earliest", follow: false, signal })) {
  for (const { type, payload } of messages) {
    if (type === job) open.add(new TextDecoder().decode(payload));
    else open.delete(new TextDecoder().decode(payload));
  }
}
for (const text of open) {
  console.log(`doing: ${text}`);
  await wal.append(message(done, text));
}
await wal.close();
