/**
 * What addresses must be.
 *
 * @module
 */

/** Of an address to serve at. */
export const listenExpects = "HOST:PORT, such as 127.0.0.1:8530";

/** Of a base URL. */
export const urlExpects = "a URL, such as http://127.0.0.1:8530";
