/**
 * Base64, as JSON rows carry bytes.
 *
 * @module
 */

import { base64Decode } from "@bufbuild/protobuf/wire";

export { base64Encode as encodeBase64 } from "@bufbuild/protobuf/wire";

/**
 * The bytes of base64 text (standard or URL alphabet, with or without padding); `undefined` for what
 * is not base64 text.
 */
export function decodeBase64(text: unknown): Uint8Array | undefined {
  if (typeof text !== "string") return undefined;
  try {
    return base64Decode(text);
  } catch {
    return undefined;
  }
}
