/**
 * A fake S3 server for faults that a real one cannot be made to have: lost answers, cut bodies, an
 * error after 200, a server that ignores conditions. Signatures are not checked; the real behaviour is
 * tested against Ceph in `s3.services.ts`.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

/** What happens to a request instead of a proper answer. */
export type Fault =
  /** An error's status and code; nothing is done. */
  | { answer: number; code?: string; headers?: Record<string, string> }
  /** 200, then an error in the body; nothing is done. */
  | { errorAfter200: string }
  /** Done, but the connection is cut before the answer. */
  | "lose answer"
  /** Done, but half of the answer's body is cut. */
  | "cut body"
  /** No answer at all until the client gives up; nothing is done. */
  | "hang";

/** How the server treats conditions. */
export type Conditions = "honoured" | "ignored" | "If-Match ignored" | "bare etags" | "racy";

/** A request as the server saw it. */
export interface SeenRequest {
  method: string;
  url: string;
  headers: IncomingMessage["headers"];
}

/** The server and how to make it fail. */
export interface FakeS3 {
  endpoint: string;
  requests: SeenRequest[];
  objects: Map<string, { body: Uint8Array; etag: string; nonce: string | undefined }>;
  /** Uploads in parts that were neither completed nor given up. */
  uploads: Map<string, Map<number, Uint8Array>>;
  /** The next requests that match have the fault; the first that matches is taken. */
  fail(matches: (request: SeenRequest) => boolean, fault: Fault, times?: number): void;
  /** Called after a request was carried out and before it is answered. */
  onDone: (request: SeenRequest) => void;
  close(): Promise<void>;
}

interface Reply {
  status: number;
  headers?: Record<string, string>;
  body?: Uint8Array | string;
}

/** Starts the fake on a free port of the loopback interface. */
export async function startFakeS3(conditions: Conditions = "honoured"): Promise<FakeS3> {
  const faults: { matches: (request: SeenRequest) => boolean; fault: Fault; times: number }[] = [];
  const fake: FakeS3 = {
    endpoint: "",
    requests: [],
    objects: new Map(),
    uploads: new Map(),
    fail: (matches, fault, times = 1) => void faults.push({ matches, fault, times }),
    onDone: () => undefined,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };

  const takeFault = (request: SeenRequest): Fault | undefined => {
    const found = faults.find(({ matches, times }) => times > 0 && matches(request));
    if (found !== undefined) found.times -= 1;
    return found?.fault;
  };

  const handle = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = "", url = "", headers } = message;
    const chunks: Uint8Array[] = [];
    for await (const chunk of message) chunks.push(chunk as Uint8Array);
    const request = { method, url, headers };
    fake.requests.push(request);
    const fault = takeFault(request);
    if (fault === "hang") return;
    if (typeof fault === "object" && "answer" in fault) {
      const { answer, code = "InternalError", headers = {} } = fault;
      return send(response, { status: answer, headers, body: errorXml(code) }, method);
    }
    if (typeof fault === "object") {
      return send(response, { status: 200, body: errorXml(fault.errorAfter200) }, method);
    }
    if (conditions === "racy") await new Promise((resolve) => setTimeout(resolve, 1));
    const reply = await act(fake, request, Buffer.concat(chunks), conditions);
    fake.onDone(request);
    if (fault === "lose answer") return void message.socket.destroy();
    if (fault === "cut body") {
      response.writeHead(reply.status, { "content-length": String(reply.body?.length ?? 0) });
      response.write(reply.body?.slice(0, reply.body.length / 2), () => message.socket.destroy());
      return;
    }
    send(response, reply, method);
  };

  const server = createServer((message, response) => {
    handle(message, response).catch((error: unknown) => response.destroy(error as Error));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  fake.endpoint = `http://127.0.0.1:${address.port}`;
  return fake;
}

async function act(
  fake: FakeS3,
  request: SeenRequest,
  body: Uint8Array,
  conditions: Conditions,
): Promise<Reply> {
  const url = new URL(request.url, fake.endpoint);
  const key = decodeURIComponent(url.pathname.split("/").slice(2).join("/"));
  const query = url.searchParams;
  if (query.get("list-type") === "2") return list(fake, query);
  if (query.has("uploads") || query.has("uploadId")) return upload(fake, request, key, query, body);
  const object = fake.objects.get(key);
  if (request.method === "PUT") {
    const refused = refusal(request, object?.etag, conditions);
    // Looks first, writes later: what a server does that has no lock.
    if (conditions === "racy") await new Promise((resolve) => setTimeout(resolve, 20));
    if (refused) return { status: 412, body: errorXml("PreconditionFailed") };
    return { status: 200, headers: { etag: `"${store(fake, key, request, body)}"` } };
  }
  if (request.method === "DELETE") {
    fake.objects.delete(key);
    return { status: 204 };
  }
  if (object === undefined) return { status: 404, body: errorXml("NoSuchKey") };
  const headers = {
    etag: `"${object.etag}"`,
    ...(object.nonce === undefined ? {} : { "x-amz-meta-millrace-put": object.nonce }),
  };
  return { status: 200, headers, body: object.body };
}

function refusal(request: SeenRequest, etag: string | undefined, conditions: Conditions): boolean {
  if (conditions === "ignored") return false;
  if (request.headers["if-none-match"] === "*") return etag !== undefined;
  const ifMatch = request.headers["if-match"];
  if (ifMatch === undefined || conditions === "If-Match ignored") return false;
  return ifMatch !== (conditions === "bare etags" ? etag : `"${etag}"`);
}

function store(fake: FakeS3, key: string, request: SeenRequest, body: Uint8Array): string {
  const etag = createHash("md5").update(body).digest("hex");
  const nonce = request.headers["x-amz-meta-millrace-put"];
  fake.objects.set(key, { body, etag, nonce: typeof nonce === "string" ? nonce : undefined });
  return etag;
}

const nonces = new WeakMap<Map<number, Uint8Array>, SeenRequest>();

function upload(
  fake: FakeS3,
  request: SeenRequest,
  key: string,
  query: URLSearchParams,
  body: Uint8Array,
): Reply {
  if (query.has("uploads")) {
    const id = `upload-${fake.requests.length}`;
    const parts = new Map<number, Uint8Array>();
    fake.uploads.set(id, parts);
    nonces.set(parts, request);
    return { status: 200, body: `<R><UploadId>${id}</UploadId></R>` };
  }
  const id = query.get("uploadId") ?? "";
  const parts = fake.uploads.get(id);
  if (parts === undefined) return { status: 404, body: errorXml("NoSuchUpload") };
  if (request.method === "PUT") {
    parts.set(Number(query.get("partNumber")), body);
    return { status: 200, headers: { etag: '"part"' } };
  }
  fake.uploads.delete(id);
  if (request.method === "DELETE") return { status: 204 };
  const whole = Buffer.concat([...parts].sort(([a], [b]) => a - b).map(([, part]) => part));
  const etag = store(fake, key, nonces.get(parts) ?? request, whole);
  return { status: 200, body: `<R><ETag>&quot;${etag}&quot;</ETag></R>` };
}

function list(fake: FakeS3, query: URLSearchParams): Reply {
  const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
  const keys = [...fake.objects.keys()]
    .filter((key) => key.startsWith(query.get("prefix") ?? "") && key > after)
    .sort();
  const page = keys.slice(0, Number(query.get("max-keys")));
  const contents = page.map((key) => {
    const { body, etag } = fake.objects.get(key) ?? { body: [], etag: "" };
    return `<Contents><Key>${key}</Key><Size>${body.length}</Size><ETag>"${etag}"</ETag></Contents>`;
  });
  const next = page.length < keys.length;
  const token = next
    ? `<NextContinuationToken>${page[page.length - 1]}</NextContinuationToken>`
    : "";
  const body = `<?xml version="1.0"?><ListBucketResult><IsTruncated>${next}</IsTruncated>${token}${contents.join("")}</ListBucketResult>`;
  return { status: 200, body };
}

function errorXml(code: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><RequestId>1</RequestId></Error>`;
}

function send(response: ServerResponse, reply: Reply, method: string): void {
  const body = reply.body ?? "";
  response.writeHead(reply.status, {
    "content-length": String(Buffer.byteLength(body)),
    ...reply.headers,
  });
  response.end(method === "HEAD" ? undefined : body);
}
