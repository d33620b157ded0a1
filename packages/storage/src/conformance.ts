/**
 * What every adapter must do, as suites that run under Vitest.
 *
 * @module
 */

export { describeMetaStore, type MetaStoreSuite } from "./conformance/meta-store.ts";
export { describeObjectStore, type ObjectStoreSuite } from "./conformance/object-store.ts";
