import { MillraceError } from "@millrace/types";
import { systemClock, systemRandom } from "@millrace/types/node";
import { describe, expect, test } from "vitest";
import { describeMetaStore, describeObjectStore } from "../src/conformance.ts";
import {
  createObjectMetaStore,
  createS3ObjectStore,
  openS3ObjectStore,
  type S3ObjectStoreOptions,
} from "../src/mod.ts";

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

describe("opening a bucket of Ceph", () => {
  const failure = async (extra: Partial<S3ObjectStoreOptions>): Promise<MillraceError> => {
    const opening = openS3ObjectStore(optionsOf(extra));
    return MillraceError.from(await opening.then((store) => store.close()).catch((error) => error));
  };
  const secret = variable("AWS_SECRET_ACCESS_KEY");
  const accessKeyId = variable("AWS_ACCESS_KEY_ID");

  test("says what is wrong with the keys, without telling them", async () => {
    const host = new URL(variable("MILLRACE_TEST_S3_ENDPOINT")).host;
    for (const credentials of [
      { accessKeyId: "AKUNKNOWN", secretAccessKey: secret },
      { accessKeyId, secretAccessKey: "wrong-secret" },
    ]) {
      const error = await failure({ credentials });
      expect(error).toMatchObject({ code: "UNAUTHENTICATED", retryable: false });
      expect(error.message).toContain(`bucket ${variable("MILLRACE_TEST_S3_BUCKET")} at ${host}`);
      expect(error.message).not.toContain(credentials.secretAccessKey);
    }
  });

  test("says that a bucket must be created", async () => {
    const error = await failure({ bucket: "not-there" });
    expect(error).toMatchObject({ code: "NOT_FOUND", retryable: false });
    expect(error.message).toMatch(/bucket not-there at .*: there is no such bucket; create it/);
  });

  test("is retryable when nothing answers", async () => {
    const error = await failure({ endpoint: "http://127.0.0.1:1", maxAttempts: 2 });
    expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(error.message).toContain("no answer from 127.0.0.1:1");
  });

  test("leaves nothing in it", async () => {
    const options = optionsOf();
    await (await openS3ObjectStore(options)).close();
    // One level up, so that the reserved names can be seen as what they are: objects.
    const { prefix = "" } = options;
    const above = createS3ObjectStore({ ...options, prefix: prefix.split("/")[0] ?? "" });
    const keys: string[] = [];
    for await (const info of above.list()) keys.push(info.key);
    expect(keys).toEqual([]);
    await above.close();
  });
});

test("an upload that fails leaves no parts", async () => {
  const options = optionsOf();
  const store = await openS3ObjectStore(options);
  const requests: string[] = [];
  const spied = createS3ObjectStore({
    ...options,
    fetch: async (input, init) => {
      const answer = await fetch(input, init);
      requests.push(`${init?.method} ${answer.status}`);
      return answer;
    },
  });
  const broken = async function* (): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(20 * 1024 * 1024);
    throw new Error("the source broke");
  };
  await expect(spied.put("key", broken())).rejects.toThrow("the source broke");
  expect(requests[0]).toBe("POST 200");
  expect(requests.at(-1)).toBe("DELETE 204");
  expect(await store.head("key")).toBeUndefined();
  await spied.close();
  await store.close();
});
