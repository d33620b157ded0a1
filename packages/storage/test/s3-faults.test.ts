import type { Clock } from "@millrace/types";
import { createSeededRandom } from "@millrace/types/testing";
import { systemClock } from "@millrace/types/node";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  createS3ObjectStore,
  type ObjectStore,
  openS3ObjectStore,
  type S3ObjectStoreOptions,
} from "../src/mod.ts";
import { type Conditions, type FakeS3, type SeenRequest, startFakeS3 } from "./fake-s3.ts";

/** Time that runs fifty times as fast, so that waits between attempts are short. */
const fastClock: Clock = {
  ...systemClock,
  schedule: (ms, callback) => systemClock.schedule(ms / 50, callback),
};

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const isPut = (request: SeenRequest): boolean => request.method === "PUT";
const isGet = (request: SeenRequest): boolean => request.method === "GET";
const isComplete = ({ method, url }: SeenRequest): boolean =>
  method === "POST" && url.includes("uploadId=");
const large = (): Uint8Array => new Uint8Array(9 * 1024 * 1024).fill(7);

let fake: FakeS3;
let store: ObjectStore;

function optionsOf(extra: Partial<S3ObjectStoreOptions> = {}): S3ObjectStoreOptions {
  return {
    bucket: "bucket",
    prefix: "base",
    endpoint: fake.endpoint,
    credentials: { accessKeyId: "AKEXAMPLE", secretAccessKey: "very-secret" },
    clock: fastClock,
    random: createSeededRandom(1),
    ...extra,
  };
}

beforeEach(async () => {
  fake = await startFakeS3();
  store = createS3ObjectStore(optionsOf());
});

afterEach(async () => {
  await store.close();
  await fake.close();
});

describe("attempts", () => {
  test("are repeated while the server has trouble", async () => {
    fake.fail(isPut, { answer: 503, code: "SlowDown" });
    fake.fail(isPut, { answer: 500 });
    fake.fail(isPut, { answer: 429, code: "TooManyRequests", headers: { "retry-after": "1" } });
    await store.put("key", bytes("body"));
    expect(fake.requests.filter(isPut)).toHaveLength(4);
    expect(fake.objects.get("base/key")?.body).toEqual(Buffer.from("body"));
  });

  test("end, with an error that says where and no secret", async () => {
    fake.fail(isPut, { answer: 503, code: "ServiceUnavailable" }, 100);
    const error = await store.put("key", bytes("body")).catch((error: unknown) => error);
    expect(error).toMatchObject({ code: "UNAVAILABLE", retryable: true, maybeApplied: true });
    expect(String(error)).toContain(`in bucket bucket at ${new URL(fake.endpoint).host}`);
    expect(String(error)).not.toMatch(/AKEXAMPLE|very-secret/);
    expect(fake.requests).toHaveLength(5);
  });

  test("are not repeated for an error that stays", async () => {
    fake.fail(isGet, { answer: 403, code: "AccessDenied" });
    await expect(store.get("key")).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
    expect(fake.requests).toHaveLength(1);
  });

  test("have a deadline each", async () => {
    const hasty = createS3ObjectStore(optionsOf({ requestTimeoutMs: 2500 }));
    await hasty.put("key", bytes("body"));
    fake.fail(isGet, "hang");
    expect((await hasty.get("key"))?.size).toBe(4);
    fake.fail(isGet, "hang", 100);
    await expect(hasty.get("key")).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("no answer within 2500 ms"),
    });
    await hasty.close();
  });

  test("are repeated when a body is cut", async () => {
    await store.put("key", bytes("a body that is cut in the middle"));
    fake.fail(isGet, "cut body");
    const found = await store.get("key");
    expect(found?.body).toEqual(bytes("a body that is cut in the middle"));
    expect(fake.requests.filter(isGet)).toHaveLength(2);
  });

  test("end at once when the caller's signal is aborted", async () => {
    const stop = new AbortController();
    fake.fail(isGet, "hang");
    const get = store.get("key", { signal: stop.signal });
    await expect.poll(() => fake.requests.length).toBe(1);
    stop.abort(new Error("no longer wanted"));
    await expect(get).rejects.toThrow("no longer wanted");
    expect(fake.requests).toHaveLength(1);
  });

  test("end at once when the store is closed", async () => {
    fake.fail(isGet, "hang");
    const get = store.get("key");
    await expect.poll(() => fake.requests.length).toBe(1);
    await Promise.all([expect(get).rejects.toMatchObject({ code: "ON_SHUTDOWN" }), store.close()]);
    await expect(store.get("key")).rejects.toMatchObject({ code: "ON_SHUTDOWN" });
  });

  test("are not waited for after the store is closed", async () => {
    fake.fail(isGet, { answer: 503, headers: { "retry-after": "3600" } });
    const get = store.get("key");
    await expect.poll(() => fake.requests.length).toBe(1);
    await Promise.all([expect(get).rejects.toMatchObject({ code: "ON_SHUTDOWN" }), store.close()]);
    expect(fake.requests).toHaveLength(1);
  });

  test("carry the keys that are current, and the hash of the body", async () => {
    let turn = 0;
    const credentials = async () => {
      turn += 1;
      return { accessKeyId: `AK${turn}`, secretAccessKey: "s", sessionToken: `token-${turn}` };
    };
    const rotating = createS3ObjectStore(optionsOf({ credentials }));
    await rotating.put("key", bytes("body"));
    await rotating.get("key");
    const [put, get] = fake.requests;
    expect(put?.headers.authorization).toContain("Credential=AK1/");
    expect(get?.headers.authorization).toContain("Credential=AK2/");
    expect(get?.headers["x-amz-security-token"]).toBe("token-2");
    expect(put?.headers["x-amz-content-sha256"]).toBe(
      "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5",
    );
    await rotating.close();
  });
});

describe("a conditional put whose answer is lost", () => {
  test("succeeds if its own bytes are there", async () => {
    fake.fail(isPut, "lose answer");
    const info = await store.put("key", bytes("mine"), { ifAbsent: true });
    expect(info.etag).toBe(fake.objects.get("base/key")?.etag);
    fake.fail(isPut, "lose answer");
    const next = await store.put("key", bytes("mine too"), { ifMatch: info.etag });
    expect(fake.objects.get("base/key")).toMatchObject({ etag: next.etag });
  });

  test("fails if another's are there, also if they are the same bytes", async () => {
    fake.fail(isPut, { answer: 500 });
    fake.objects.set("base/key", { body: bytes("same"), etag: "other", nonce: "other" });
    const put = store.put("key", bytes("same"), { ifAbsent: true });
    await expect(put).rejects.toMatchObject({ code: "PRECONDITION_FAILED", expected: "other" });
  });

  test("says that it may have stood there for a while", async () => {
    const { etag } = await store.put("key", bytes("first"));
    fake.fail(isPut, "lose answer");
    fake.onDone = (request) => {
      if (isPut(request)) fake.objects.set("base/key", { body: bytes("x"), etag: "x", nonce: "x" });
    };
    const put = store.put("key", bytes("second"), { ifMatch: etag });
    await expect(put).rejects.toMatchObject({ code: "PRECONDITION_FAILED", maybeApplied: true });
  });

  test("is of unknown outcome if the server does not come back", async () => {
    fake.fail(isPut, "lose answer");
    fake.fail(() => true, { answer: 503 }, 100);
    const put = store.put("key", bytes("mine"), { ifAbsent: true });
    await expect(put).rejects.toMatchObject({ code: "UNAVAILABLE", maybeApplied: true });
  });

  test("is refused without doubt when no answer was lost", async () => {
    await store.put("key", bytes("first"));
    fake.fail(isPut, { answer: 503, code: "SlowDown" });
    const put = store.put("key", bytes("second"), { ifAbsent: true });
    await expect(put).rejects.toMatchObject({ code: "PRECONDITION_FAILED", maybeApplied: false });
  });

  test("is sent again after a conflict with another writer", async () => {
    fake.fail(isPut, { answer: 409, code: "ConditionalRequestConflict" });
    await store.put("key", bytes("mine"), { ifAbsent: true });
    expect(fake.requests.filter(isPut)).toHaveLength(2);
  });
});

describe("an upload in parts", () => {
  test("is repeated when the store finds out after 200 that it cannot complete it", async () => {
    fake.fail(isComplete, { errorAfter200: "InternalError" });
    const info = await store.put("key", large());
    expect(info).toMatchObject({ size: 9 * 1024 * 1024, etag: fake.objects.get("base/key")?.etag });
    expect(fake.uploads.size).toBe(0);
  });

  test("is given up after an error that stays", async () => {
    fake.fail(isComplete, { errorAfter200: "InvalidPart" });
    await expect(store.put("key", large())).rejects.toThrow("InvalidPart");
    expect(fake.uploads.size).toBe(0);
    expect(fake.objects.size).toBe(0);
  });

  test("is given up when a part cannot be sent", async () => {
    const isPart = (request: SeenRequest): boolean => request.url.includes("partNumber=1");
    fake.fail(isPart, { answer: 503 }, 100);
    await expect(store.put("key", large())).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(fake.uploads.size).toBe(0);
  });

  test("succeeds when only the answer to its end is lost", async () => {
    fake.fail(isComplete, "lose answer");
    const info = await store.put("key", large());
    expect(info.etag).toBe(fake.objects.get("base/key")?.etag);
    expect(fake.requests.filter(isComplete)).toHaveLength(2);
  });

  test("reads no further than a few parts ahead of the server", async () => {
    const chunk = 1024 * 1024;
    let read = 0;
    let ended = false;
    const source = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (; read < 200; read++) yield new Uint8Array(chunk);
      } finally {
        ended = true;
      }
    };
    const stop = new AbortController();
    fake.fail((request) => request.url.includes("partNumber="), "hang", 100);
    const put = store.put("key", source(), { signal: stop.signal });
    await expect
      .poll(() => fake.requests.filter(({ url }) => url.includes("partNumber=")).length)
      .toBe(2);
    expect(read).toBeLessThanOrEqual(24);
    stop.abort(new Error("no longer wanted"));
    await expect(put).rejects.toThrow("no longer wanted");
    expect(ended).toBe(true);
    expect(fake.uploads.size).toBe(0);
  });
});

describe("opening a bucket", () => {
  async function openWith(conditions: Conditions): Promise<ObjectStore> {
    await fake.close();
    fake = await startFakeS3(conditions);
    return await openS3ObjectStore(optionsOf());
  }

  test("accepts a store that honours conditions, and leaves nothing in it", async () => {
    const opened = await openWith("honoured");
    expect(fake.objects.size).toBe(0);
    await opened.close();
  });

  test("finds out that a store wants etags without quotes", async () => {
    const opened = await openWith("bare etags");
    const { etag } = await opened.put("key", bytes("first"));
    await opened.put("key", bytes("second"), { ifMatch: etag });
    const stale = opened.put("key", bytes("third"), { ifMatch: etag });
    await expect(stale).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    await opened.close();
  });

  test.each([
    ["ignored", "it ignores If-None-Match"],
    ["If-Match ignored", "it ignores If-Match"],
    ["racy", "of 8 writers that race to create an object"],
  ] as const)("refuses a store whose conditions are %s", async (conditions, finding) => {
    await expect(openWith(conditions)).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
      retryable: false,
      message: expect.stringContaining(finding),
    });
    expect(fake.objects.size).toBe(0);
  });

  test("refuses a store that does not implement conditions", async () => {
    fake.fail((request) => "if-none-match" in request.headers, {
      answer: 501,
      code: "NotImplemented",
    });
    await expect(openS3ObjectStore(optionsOf())).rejects.toMatchObject({ code: "UNIMPLEMENTED" });
  });

  test.each([
    [403, "InvalidAccessKeyId", "UNAUTHENTICATED"],
    [403, "SignatureDoesNotMatch", "UNAUTHENTICATED"],
    [400, "ExpiredToken", "UNAUTHENTICATED"],
    [403, "AccessDenied", "PERMISSION_DENIED"],
    [404, "NoSuchBucket", "NOT_FOUND"],
  ] as const)("says what %i %s means", async (answer, code, expected) => {
    fake.fail(() => true, { answer, code }, 100);
    await expect(openS3ObjectStore(optionsOf())).rejects.toMatchObject({
      code: expected,
      retryable: false,
      message: expect.stringMatching(/in bucket bucket at 127\.0\.0\.1/),
    });
  });

  test("asks no more than its attempts when the server has trouble", async () => {
    fake.fail(() => true, { answer: 503 }, 100);
    await expect(openS3ObjectStore(optionsOf())).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(fake.requests).toHaveLength(5);
  });

  test("is retryable when the server is away", async () => {
    await fake.close();
    const opening = openS3ObjectStore(optionsOf());
    await expect(opening).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    fake = await startFakeS3();
  });
});

describe("addresses", () => {
  async function urlOf(extra: Partial<S3ObjectStoreOptions>): Promise<string> {
    let seen = "";
    const spy = createS3ObjectStore({
      ...optionsOf(),
      ...extra,
      fetch: async (input) => {
        seen = String(input);
        return new Response(null, { status: 200, headers: { etag: '"1"' } });
      },
    });
    await spy.put("a b/ü+%.txt", bytes("x"));
    await spy.close();
    return seen;
  }

  test("have the bucket in the path or in the host", async () => {
    const endpoint = "https://s3.example.com/gate/";
    expect(await urlOf({ endpoint, prefix: "" })).toBe(
      "https://s3.example.com/gate/bucket/a%20b/%C3%BC%2B%25.txt",
    );
    expect(await urlOf({ endpoint, pathStyle: false, prefix: "/p/q/" })).toBe(
      "https://bucket.s3.example.com/gate/p/q/a%20b/%C3%BC%2B%25.txt",
    );
  });

  test.each([
    [{ bucket: "no/bucket" }, "bucket"],
    [{ bucket: "" }, "bucket"],
    [{ endpoint: "not a url" }, "endpoint"],
    [{ endpoint: "ftp://host" }, "endpoint"],
    [{ endpoint: "http://key:secret@host" }, "endpoint"],
    [{ prefix: "x".repeat(121) }, "prefix"],
    [{ maxAttempts: 0 }, "maxAttempts"],
    [{ pageSize: 1001 }, "pageSize"],
  ])("refuse %j", (extra, field) => {
    expect(() => createS3ObjectStore(optionsOf(extra))).toThrowError(
      expect.objectContaining({ code: "INVALID_ARGUMENT", field }),
    );
  });
});

test("a listing leaves out what no key can name", async () => {
  for (const key of ["base/a", "base/folder/", "base/.millrace-probe/x", "elsewhere"]) {
    fake.objects.set(key, { body: bytes("x"), etag: "1", nonce: undefined });
  }
  const keys: string[] = [];
  for await (const info of store.list()) keys.push(info.key);
  expect(keys).toEqual(["a"]);
});

test("a listing that is not one is an error", async () => {
  const page = createS3ObjectStore({
    ...optionsOf(),
    fetch: async () => new Response("<html><body>Welcome</body></html>"),
  });
  const listing = async (): Promise<void> => {
    for await (const _ of page.list());
  };
  await expect(listing()).rejects.toThrow("is it an S3 server?");
  await page.close();
});
