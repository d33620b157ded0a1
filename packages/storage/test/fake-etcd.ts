import { encodeBase64 } from "../src/meta/etcd/base64.ts";

/** A request as the fake got it. */
export interface FakeRequest {
  host: string;
  /** Behind `/v3/`. */
  path: string;
  body: string;
  token: string | null;
  signal: AbortSignal;
}

/** The answer of a watch that is open. */
export interface FakeWatch {
  /** Sends a piece as it is. */
  send(text: string): void;
  /** Ends the connection properly. */
  close(): void;
  /** Breaks the connection. */
  fail(): void;
}

/** One member of an etcd in memory, as far as its gateway is used. */
export interface FakeEtcd {
  fetch: typeof fetch;
  /** All requests so far. */
  requests: FakeRequest[];
  /** Answers in place of the member, which `answer` asks. */
  intercept: (request: FakeRequest, answer: () => Response) => Response | Promise<Response>;
  /** The watches that are open. */
  watches: Set<FakeWatch>;
  /** The leases that live. */
  leases: Set<string>;
  /** Writes as another client would, bytes as they are. Answers the revision. */
  put(key: string, value: Uint8Array): number;
  delete(key: string): number;
  /** Forgets all revisions before the present one. */
  compact(): void;
  /** Ends a lease, and its keys with it. */
  expire(lease: string): void;
  /** Becomes empty, as if set back to an older copy. */
  reset(): void;
}

interface Version {
  revision: number;
  /** Base64. */
  key: string;
  /** Base64; `undefined`: deleted. */
  value: string | undefined;
  created: number;
  lease: string | undefined;
}

interface Range {
  key: string;
  range_end?: string;
  limit?: number;
  revision?: number;
  keys_only?: boolean;
}

interface Operation {
  request_put?: { key: string; value: string; lease?: string };
  request_delete_range?: { key: string };
  request_range?: Range;
}

interface Txn {
  compare: { key: string; mod_revision: string }[];
  success: Operation[];
  failure: Operation[];
}

/** An answer that is not a success. */
export function refusal(status: number, code: number, message: string): Response {
  return Response.json({ error: message, message, code }, { status });
}

/** Creates one that is empty. */
export function createFakeEtcd(): FakeEtcd {
  let history: Version[] = [];
  let revision = 1;
  let compacted = 0;
  let lastLease = 0;
  const streams = new Map<FakeWatch, { range: Range; tell: (version: Version) => void }>();

  const header = () => ({ revision: String(revision) });
  const isIn = (key: string, range: Range): boolean => {
    if (range.range_end === undefined) return key === range.key;
    const at = atob(key);
    return at >= atob(range.key) && at < atob(range.range_end);
  };
  const kvOf = (version: Version, keysOnly = false) => ({
    key: version.key,
    ...(version.created ? { create_revision: String(version.created) } : {}),
    mod_revision: String(version.revision),
    ...(version.lease ? { lease: version.lease } : {}),
    ...(version.value && !keysOnly ? { value: version.value } : {}),
  });
  const stateAt = (at: number): Version[] => {
    const state = new Map<string, Version>();
    for (const version of history) if (version.revision <= at) state.set(version.key, version);
    return [...state.values()]
      .filter((version) => version.value !== undefined)
      .sort((a, b) => (atob(a.key) < atob(b.key) ? -1 : 1));
  };
  const current = (key: string): Version | undefined =>
    stateAt(revision).find((version) => version.key === key);

  const append = (key: string, value: string | undefined, lease?: string): void => {
    const before = current(key);
    if (value === undefined && before === undefined) return;
    revision += 1;
    const created = value === undefined ? 0 : (before?.created ?? revision);
    const version = { revision, key, value, created, lease };
    history.push(version);
    for (const { range, tell } of streams.values()) if (isIn(key, range)) tell(version);
  };

  const range = (request: Range): Response => {
    const { revision: at = revision, limit = 0 } = request;
    if (at < compacted) {
      return refusal(400, 11, "etcdserver: mvcc: required revision has been compacted");
    }
    const found = stateAt(at).filter((version) => isIn(version.key, request));
    const some = limit > 0 ? found.slice(0, limit) : found;
    const kvs = some.map((version) => kvOf(version, request.keys_only));
    const more = some.length < found.length ? { more: true } : {};
    return Response.json({ header: header(), ...(kvs.length > 0 ? { kvs } : {}), ...more });
  };

  const txn = ({ compare, success, failure }: Txn): Response => {
    const holds = compare.every(
      ({ key, mod_revision: wanted }) => String(current(key)?.revision ?? 0) === wanted,
    );
    const responses = (holds ? success : failure).map((operation) => {
      const { request_put: put, request_delete_range: removal, request_range: read } = operation;
      if (put) append(put.key, put.value, put.lease);
      if (removal) append(removal.key, undefined);
      const found = read && current(read.key);
      return { response_range: found ? { kvs: [kvOf(found, read.keys_only)] } : {} };
    });
    return Response.json({ header: header(), ...(holds ? { succeeded: true } : {}), responses });
  };

  const watch = (request: Range & { start_revision: number }, signal: AbortSignal): Response => {
    let piece: (text: string) => void = () => undefined;
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        piece = (text) => controller.enqueue(new TextEncoder().encode(text));
        const end = (action: () => void) => () => {
          if (streams.delete(opened)) action();
        };
        const opened: FakeWatch = {
          send: (text) => piece(text),
          close: end(() => controller.close()),
          fail: end(() => controller.error(new Error("the connection broke"))),
        };
        const result = (fields: object): void =>
          piece(`${JSON.stringify({ result: { header: header(), ...fields } })}\n`);
        const tell = (version: Version): void => {
          const type = version.value === undefined ? { type: "DELETE" } : {};
          result({ events: [{ ...type, kv: kvOf(version) }] });
        };
        streams.set(opened, { range: request, tell });
        signal.addEventListener(
          "abort",
          end(() => controller.error(signal.reason)),
        );
        result({ created: true });
        if (request.start_revision < compacted) {
          result({ canceled: true, compact_revision: String(compacted) });
          opened.close();
          return;
        }
        for (const version of history) {
          if (version.revision < request.start_revision || !isIn(version.key, request)) continue;
          tell(version);
        }
      },
    });
    return new Response(stream);
  };

  const expire = (lease: string): void => {
    if (!fake.leases.delete(lease)) return;
    for (const version of stateAt(revision)) {
      if (version.lease === lease) append(version.key, undefined);
    }
  };

  const answer = ({ path, body, signal }: FakeRequest): Response => {
    const request = JSON.parse(body);
    switch (path) {
      case "kv/range":
        return range(request);
      case "kv/txn":
        return txn(request);
      case "watch":
        return watch(request.create_request, signal);
      case "lease/grant":
        lastLease += 1;
        fake.leases.add(String(lastLease));
        return Response.json({ header: header(), ID: String(lastLease), TTL: request.TTL });
      case "lease/keepalive": {
        const ttl = fake.leases.has(request.ID) ? { TTL: "5" } : {};
        return Response.json({ result: { header: header(), ID: request.ID, ...ttl } });
      }
      case "lease/revoke":
        if (!fake.leases.has(request.ID)) {
          return refusal(404, 5, "etcdserver: requested lease not found");
        }
        expire(request.ID);
        return Response.json({ header: header() });
      default:
        return new Response("Not Found", { status: 404 });
    }
  };

  const keyOf = (key: string): string => encodeBase64(new TextEncoder().encode(key));
  const fake: FakeEtcd = {
    async fetch(input, init) {
      const url = new URL(String(input));
      const signal = init?.signal ?? new AbortController().signal;
      signal.throwIfAborted();
      const token = new Headers(init?.headers).get("authorization");
      const path = url.pathname.replace("/v3/", "");
      const request = { host: url.host, path, body: String(init?.body), token, signal };
      fake.requests.push(request);
      return await fake.intercept(request, () => answer(request));
    },
    requests: [],
    intercept: (_request, proceed) => proceed(),
    get watches() {
      return new Set(streams.keys());
    },
    leases: new Set(),
    put(key, value) {
      append(keyOf(key), encodeBase64(value));
      return revision;
    },
    delete(key) {
      append(keyOf(key), undefined);
      return revision;
    },
    compact() {
      compacted = revision;
    },
    expire,
    reset() {
      history = [];
      revision = 1;
      compacted = 0;
    },
  };
  return fake;
}
