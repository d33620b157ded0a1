import { systemClock, systemRandom } from "@millrace/types/node";
import { afterAll, beforeAll } from "vitest";
import { type EtcdServer, startEtcd } from "../../../test/services/etcd.ts";
import { describeMetaStore } from "../src/conformance.ts";
import { createEtcdMetaStore, type EtcdMetaStoreOptions } from "../src/mod.ts";

let etcd: EtcdServer;
beforeAll(async () => {
  etcd = await startEtcd();
});
afterAll(() => etcd?.stop());

let stores = 0;

/** Options of a store with a prefix of its own. */
function optionsOf(extra: Partial<EtcdMetaStoreOptions> = {}): EtcdMetaStoreOptions {
  stores += 1;
  return {
    endpoints: etcd.endpoints,
    prefix: `storage/über-${stores}`,
    clock: systemClock,
    random: systemRandom,
    ...extra,
  };
}

describeMetaStore("etcd, in pages of three", {
  open: async () => {
    const options = optionsOf({ pageSize: 3 });
    const store = createEtcdMetaStore(options);
    const other = createEtcdMetaStore(options);
    return {
      store,
      other,
      async close() {
        await store.close();
        await other.close();
      },
    };
  },
});
