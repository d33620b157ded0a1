/**
 * ManagerService: what the coordinator asks of a node.
 *
 * @module
 */

import type { ServiceImpl } from "@connectrpc/connect";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ManagerService, WalStatusSchema } from "@millrace/types/gen";
import type { OpenPchannel } from "./pchannel.ts";
import type { Pchannels } from "./pchannels.ts";
import { pchannelTerm } from "./request.ts";

/** Serves ManagerService. */
export function createManager(pchannels: Pchannels): ServiceImpl<typeof ManagerService> {
  return {
    async assign(request) {
      const { name, term } = pchannelTerm(request);
      await pchannels.assign(name, term);
      return {};
    },
    async remove(request) {
      const { name, term } = pchannelTerm(request);
      await pchannels.remove(name, term);
      return {};
    },
    collectStatus: () => ({ wals: pchannels.list().map(statusOf) }),
  };
}

function statusOf({
  name,
  term,
  wal,
  flusher,
}: OpenPchannel): MessageInitShape<typeof WalStatusSchema> {
  const { first, next } = wal.bounds();
  const { flushedTick, readTick, rows, bytes, problem } = flusher.status();
  return {
    name,
    term: BigInt(term),
    firstSequence: BigInt(first),
    nextSequence: BigInt(next),
    lastTick: wal.lastTick(),
    flushedTick,
    readTick,
    growingRows: BigInt(rows),
    growingBytes: BigInt(bytes),
    problem,
  };
}
