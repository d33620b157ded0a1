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
  type PchannelTerm,
} from "@millrace/types/gen";
import { type LogBackend, openWal, type Wal, type WalSnapshot } from "@millrace/wal";

/** A node with a real log behind it, and places to put faults. */
export interface FakeNode {
  routes: Routes;
  open(pchannel: string, term: number, snapshot?: WalSnapshot): Promise<void>;
  close(pchannel: string): Promise<WalSnapshot | undefined>;
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
      wals.set(pchannel, await openWal({ backend, pchannel, term, ticks, snapshot }));
    },
    async close(pchannel) {
      const wal = wals.get(pchannel);
      wals.delete(pchannel);
      await wal?.close();
      return wal?.snapshot();
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
  request: ConsumeRequest,
  signal: AbortSignal,
  clock: Clock,
): AsyncIterable<MessageInitShape<typeof ConsumeResponseSchema>> {
  const { case: kind, value } = request.from;
  const from = kind === "sequence" ? { sequence: Number(value) } : (kind ?? "earliest");
  const scan = wal
    .scan({ from, signal, ...(request.vchannel && { vchannel: request.vchannel }) })
    [Symbol.asyncIterator]();
  let next = scan.next();
  if (kind === "latest") yield { tick: wal.lastTick() };
  else yield {};
  for (;;) {
    const result = await Promise.race([next, delay(clock, 1000).then(() => "quiet" as const)]);
    if (result === "quiet") {
      yield { tick: wal.lastTick() };
      continue;
    }
    if (result.done) return;
    yield { batches: result.value.bytes, tick: result.value.lastTick };
    next = scan.next();
  }
}
