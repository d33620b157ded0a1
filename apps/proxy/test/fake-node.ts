import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import type { Routes } from "@millrace/rpc";
import { type Clock, delay, MillraceError, type TickSource } from "@millrace/types";
import {
  type AppendRequest,
  type AppendResponse,
  type ConsumeRequest,
  type ConsumeResponseSchema,
  HandlerService,
  MessageType,
  type PchannelTerm,
} from "@millrace/types/gen";
import {
  type LogBackend,
  openWal,
  type RecordBatch,
  type Wal,
  type WalSnapshot,
} from "@millrace/wal";

/** A node with a real log behind it, and places to put faults. */
export interface FakeNode {
  routes: Routes;
  open(pchannel: string, term: number, snapshot?: WalSnapshot): Promise<void>;
  close(pchannel: string): Promise<WalSnapshot | undefined>;
  closeAll(): Promise<void>;
  wal(pchannel: string): Wal | undefined;
  /** Every Append that arrived. */
  appends: AppendRequest[];
  /** How many Consume calls are open. */
  consumers(): number;
  /** Runs before an append is written; may throw or wait. */
  before: (request: AppendRequest) => void | Promise<void>;
  /** Runs after an append was written, before it is answered; may throw. */
  after: (response: AppendResponse) => void;
  /** What GetFlushCheckpoints answers for a vchannel. */
  flushed: Map<string, bigint>;
  problem: string;
}

export function createFakeNode(backend: LogBackend, ticks: TickSource, clock: Clock): FakeNode {
  const wals = new Map<string, Wal>();
  let consumers = 0;

  const held = (pchannel: PchannelTerm | undefined): Wal => {
    const wal = wals.get(pchannel?.name ?? "");
    if (!wal) throw new MillraceError("CHANNEL_NOT_EXIST", `${pchannel?.name} is not here`);
    if (BigInt(wal.term) === pchannel?.term) return wal;
    throw new MillraceError("UNMATCHED_CHANNEL_TERM", "another term", {
      expected: String(wal.term),
    });
  };

  const node: FakeNode = {
    appends: [],
    before: () => undefined,
    after: () => undefined,
    flushed: new Map(),
    problem: "",
    consumers: () => consumers,
    wal: (pchannel) => wals.get(pchannel),
    async open(pchannel, term, snapshot) {
      wals.set(pchannel, await openWal({ backend, pchannel, term, ticks, clock, snapshot }));
    },
    async close(pchannel) {
      const wal = wals.get(pchannel);
      wals.delete(pchannel);
      await wal?.close();
      return wal?.snapshot();
    },
    async closeAll() {
      for (const pchannel of [...wals.keys()]) await node.close(pchannel);
    },
    routes: (router: ConnectRouter) => router.service(HandlerService, service),
  };

  const service: Partial<ServiceImpl<typeof HandlerService>> = {
    async append(request) {
      node.appends.push(request);
      await node.before(request);
      const result = await held(request.pchannel).append(request.messages, {
        idempotencyKey: request.idempotencyKey,
        barrier: request.barrierTick,
      });
      const response = {
        id: { sequence: BigInt(result.id.sequence), index: result.id.index },
        firstTick: result.firstTick,
        lastTick: result.lastTick,
        duplicate: result.duplicate,
      } as AppendResponse;
      node.after(response);
      return response;
    },
    async *consume(request, { signal }) {
      consumers++;
      try {
        yield* consume(held(request.pchannel), request, signal, clock);
      } finally {
        consumers--;
      }
    },
    getFlushCheckpoints(request) {
      held(request.pchannel);
      const checkpoints = request.vchannels.flatMap((vchannel) => {
        const tick = node.flushed.get(vchannel);
        return tick === undefined ? [] : [{ vchannel, tick }];
      });
      return { checkpoints, problem: node.problem };
    },
  };
  return node;
}

async function* consume(
  wal: Wal,
  { from, vchannel }: ConsumeRequest,
  signal: AbortSignal,
  clock: Clock,
): AsyncIterable<MessageInitShape<typeof ConsumeResponseSchema>> {
  let next = from.case === "sequence" ? Number(from.value) : wal.bounds().first;
  let tick = 0n;
  if (from.case === "latest") {
    next = wal.lastConfirmed();
    tick = wal.lastTick();
  }
  const scan = wal.scan({ from: { sequence: next }, signal })[Symbol.asyncIterator]();
  let pending = scan.next();
  yield { tick, next: BigInt(next) };
  for (;;) {
    const result = await Promise.race([pending, delay(clock, 1000).then(() => "quiet" as const)]);
    if (result === "quiet") {
      if (next === wal.bounds().next) tick = wal.confirmedTick();
      yield { tick, next: BigInt(next) };
      continue;
    }
    if (result.done) return;
    const { bytes, sequence, lastTick } = result.value;
    pending = scan.next();
    next = sequence + 1;
    if (lastTick > tick) tick = lastTick;
    if (!isOf(result.value, vchannel)) continue;
    yield { batches: bytes, tick, next: BigInt(next) };
  }
}

/** `true` if anything but a time tick is of the vchannel, or of all. */
function isOf(batch: RecordBatch, vchannel: string): boolean {
  for (const message of batch.messages()) {
    if (message.vchannel === vchannel) return true;
    if (message.vchannel === "" && message.type !== MessageType.TIME_TICK) return true;
  }
  return false;
}
