/**
 * Which pchannel carries the control channel.
 *
 * @module
 */

import type { MetaStore } from "@millrace/storage";
import { controlChannelName, MillraceError } from "@millrace/types";
import { createCell } from "./cell.ts";

const key = "coord/control-channel";

/**
 * The control channel of the cluster: on the first pchannel when the cluster begins, and there for ever.
 * `PRECONDITION_FAILED` if that is not one of the pchannels any more.
 */
export async function electControlChannel(
  meta: MetaStore,
  pchannels: readonly string[],
): Promise<string> {
  const cell = createCell(meta, key);
  const saved = await cell.read();
  const pchannel = saved ? new TextDecoder().decode(saved) : (pchannels[0] ?? "");
  if (!pchannels.includes(pchannel)) {
    throw new MillraceError(
      "PRECONDITION_FAILED",
      `the control channel lies on ${pchannel}, which is not a pchannel of this cluster; start it with the prefix and the number of pchannels that it had`,
    );
  }
  if (!saved) await cell.write(new TextEncoder().encode(pchannel));
  return controlChannelName(pchannel);
}
