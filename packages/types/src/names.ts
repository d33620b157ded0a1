/**
 * Names: what users may call things, and how pchannels and vchannels are called.
 *
 * @module
 */

import { MillraceError } from "./errors.ts";

const namePattern = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The partition that every collection has. */
export const defaultPartition = "_default";

/**
 * Refuses what is not a name: 1 to 255 characters, a letter or underscore, then letters, digits or
 * underscores. Throws `INVALID_ARGUMENT` with `field`.
 */
export function checkName(name: string, field: string): void {
  if (name.length === 0) {
    throw new MillraceError("INVALID_ARGUMENT", `${field} is empty; give it a name`, { field });
  }
  if (name.length > 255) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `${field} has ${name.length} characters; at most 255 are allowed`,
      { field },
    );
  }
  if (!namePattern.test(name)) {
    throw new MillraceError(
      "INVALID_ARGUMENT",
      `${field} ${JSON.stringify(name)} is not a name: use a letter or underscore, then letters, digits or underscores`,
      { field },
    );
  }
}

/** The name of pchannel `index` (from 0) of a cluster: `<prefix>-dml_<index>`. */
export function pchannelName(prefix: string, index: number): string {
  return `${prefix}-dml_${index}`;
}

/** The name of a collection's shard on a pchannel: `<pchannel>_<collection id>v<shard>`. */
export function vchannelName(pchannel: string, collectionId: bigint, shard: number): string {
  return `${pchannel}_${collectionId}v${shard}`;
}

/**
 * The control channel of a pchannel: a vchannel of no collection, in which one log shows the changes of
 * all collections in one order.
 */
export function controlChannelName(pchannel: string): string {
  return `${pchannel}_vcchan`;
}

/** `true` if a vchannel is a control channel. */
export function isControlChannel(vchannel: string): boolean {
  return vchannel.endsWith("_vcchan");
}

/** The pchannel that carries a vchannel. Throws `INVALID_ARGUMENT` if it is not a vchannel's name. */
export function pchannelOf(vchannel: string): string {
  const match = /^(.+)_(?:\d+v\d+|vcchan)$/.exec(vchannel);
  if (!match?.[1]) {
    throw new MillraceError("INVALID_ARGUMENT", `${JSON.stringify(vchannel)} is not a vchannel`, {
      field: "vchannel",
    });
  }
  return match[1];
}
