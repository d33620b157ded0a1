import { systemClock, systemRandom } from "@millrace/types/node";
import { describeMetaStore, describeObjectStore } from "../src/conformance.ts";
import { createObjectMetaStore, openS3ObjectStore, type S3ObjectStoreOptions } from "../src/mod.ts";

const variable = (name: string): string => process.env[name] ?? "";

let stores = 0;

/** Options of a store with a prefix of its own. */
function optionsOf(extra: Partial<S3ObjectStoreOptions> = {}): S3ObjectStoreOptions {
  stores += 1;
  return {
    bucket: variable("MILLRACE_TEST_S3_BUCKET"),
    endpoint: variable("MILLRACE_TEST_S3_ENDPOINT"),
    prefix: `storage-${process.pid}-${stores}/über & <unter>`,
    credentials: {
      accessKeyId: variable("AWS_ACCESS_KEY_ID"),
      secretAccessKey: variable("AWS_SECRET_ACCESS_KEY"),
    },
    clock: systemClock,
    random: systemRandom,
    ...extra,
  };
}

describeObjectStore("s3 over two gateways, in pages of three", {
  open: async () => {
    const options = optionsOf({ pageSize: 3 });
    const endpoint = variable("MILLRACE_TEST_S3_OTHER_ENDPOINT");
    const [store, other] = await Promise.all([
      openS3ObjectStore(options),
      openS3ObjectStore({ ...options, endpoint }),
    ]);
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

describeMetaStore("objects in s3 over two gateways", {
  open: async () => {
    const options = optionsOf();
    const endpoint = variable("MILLRACE_TEST_S3_OTHER_ENDPOINT");
    const [objects, others] = await Promise.all([
      openS3ObjectStore(options),
      openS3ObjectStore({ ...options, endpoint }),
    ]);
    const meta = { prefix: "meta", clock: systemClock, random: systemRandom, pollMs: 20 };
    const store = createObjectMetaStore(objects, meta);
    const other = createObjectMetaStore(others, meta);
    return {
      store,
      other,
      async close() {
        await store.close();
        await other.close();
        await objects.close();
        await others.close();
      },
    };
  },
});
