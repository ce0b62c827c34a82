/** A blob store in a bucket of S3, or of what speaks like it. The one file that knows `minio`. */
import { Agent as HttpAgent, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { Readable } from "node:stream";
import { Client } from "minio";
import {
  type BlobStore,
  BlobStoreUnavailable,
  type ByteRange,
  checkKey,
  Measure,
  probe,
} from "./blobs.ts";

export interface S3Options {
  /** Such as `https://s3.eu-central-1.amazonaws.com`. */
  endpoint: string;
  region: string;
  bucket: string;
  accessKey: string;
  secretKey: string;
  /** What all object names begin with. */
  prefix?: string;
  /** Whether the bucket stands in the path instead of the host name. */
  pathStyle?: boolean;
  /** Time in ms without a byte from the server after which it counts as away; 8 s by default. */
  timeoutMs?: number;
}

/** Of a larger object as much is in memory at a time. S3 takes no smaller parts. */
const PART_BYTES = 5 * 1024 * 1024;
const ABSENT = new Set(["NoSuchKey", "NotFound", "NoSuchUpload"]);

export function openBlobS3(options: S3Options): BlobStore {
  const { bucket, prefix = "", timeoutMs = 8_000 } = options;
  const endpoint = new URL(options.endpoint);
  const useSSL = endpoint.protocol === "https:";
  const agent = impatientAgent(useSSL, timeoutMs);
  const client = new Client({
    endPoint: endpoint.hostname.replace(/^\[|\]$/g, ""),
    ...(endpoint.port === "" ? {} : { port: Number(endpoint.port) }),
    useSSL,
    region: options.region,
    accessKey: options.accessKey,
    secretKey: options.secretKey,
    pathStyle: options.pathStyle ?? true,
    partSize: PART_BYTES,
    transportAgent: agent,
    // Whoever asked tries again; and it would write to the console.
    retryOptions: { disableRetry: true },
  });

  /** Writes a large object in parts; it exists once all are there. */
  async function putParts(name: string, first: Buffer, rest: AsyncIterable<Buffer>): Promise<void> {
    const uploadID = await ask(() => client.initiateNewMultipartUpload(bucket, name, {}));
    const etags: { part: number; etag: string }[] = [];
    const putPart = async (bytes: Buffer): Promise<void> => {
      const partNumber = etags.length + 1;
      const part = { bucketName: bucket, objectName: name, uploadID, partNumber, headers: {} };
      const { etag } = await ask(() => client.uploadPart(part, bytes));
      etags.push({ part: partNumber, etag });
    };
    try {
      await putPart(first);
      for await (const bytes of rest) await putPart(bytes);
      await ask(() => client.completeMultipartUpload(bucket, name, uploadID, etags));
    } catch (error) {
      // A server that is away is not asked again: `remove` finds what is left.
      if (!(error instanceof BlobStoreUnavailable)) {
        await client.abortMultipartUpload(bucket, name, uploadID).catch(() => undefined);
      }
      throw error;
    }
  }

  const store: BlobStore = {
    async put(key, source) {
      const name = nameOf(prefix, key);
      const measure = new Measure();
      const parts = inParts(source, measure);
      const first = await parts.next();
      const bytes = first.done === true ? Buffer.alloc(0) : first.value;
      try {
        if (bytes.length < PART_BYTES) await ask(() => client.putObject(bucket, name, bytes));
        else await putParts(name, bytes, parts);
      } finally {
        source.destroy();
      }
      return measure.finish();
    },
    async get(key, range) {
      const name = nameOf(prefix, key);
      const [offset, length] =
        range === undefined ? [0, 0] : [range.start, range.end - range.start + 1];
      const found = await unlessAbsent(() => client.getPartialObject(bucket, name, offset, length));
      return found && patient(found as IncomingMessage, timeoutMs, range);
    },
    async exists(key) {
      const name = nameOf(prefix, key);
      return (await unlessAbsent(() => client.statObject(bucket, name))) !== undefined;
    },
    async remove(key) {
      const name = nameOf(prefix, key);
      await unlessAbsent(() => client.removeObject(bucket, name));
      await removeParts(client, bucket, name);
    },
    check: (key) => probe(store, key),
    async [Symbol.asyncDispose]() {
      agent.destroy();
    },
  };
  return store;
}

function nameOf(prefix: string, key: string): string {
  checkKey(key);
  return `${prefix}${key}`;
}

/** Cuts a stream into parts of one size; only the last is shorter, and there is none without bytes. */
async function* inParts(source: Readable, measure: Measure): AsyncGenerator<Buffer, undefined> {
  let held: Buffer[] = [];
  let size = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    measure.add(chunk);
    for (let at = 0; at < chunk.length;) {
      const piece = chunk.subarray(at, at + PART_BYTES - size);
      held.push(piece);
      size += piece.length;
      at += piece.length;
      if (size === PART_BYTES) {
        yield Buffer.concat(held, size);
        held = [];
        size = 0;
      }
    }
  }
  if (size > 0) yield Buffer.concat(held, size);
  return undefined;
}

/** Connections that break when the server says nothing for a while. */
function impatientAgent(useSSL: boolean, timeoutMs: number): HttpAgent {
  const pool = { keepAlive: true, timeout: timeoutMs, maxFreeSockets: 16 };
  const agent = useSSL ? new HttpsAgent(pool) : new HttpAgent(pool);
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    const socket = connect(options, callback);
    socket?.once("timeout", () => socket.destroy(timedOut()));
    return socket;
  };
  return agent;
}

/**
 * Reads an answer as slowly as its reader wants it, which must not break the connection; but breaks
 * it where the reader waits in vain.
 */
function patient(
  response: IncomingMessage,
  timeoutMs: number,
  range: ByteRange | undefined,
): Readable {
  response.socket.setTimeout(0);
  // Not every server takes ranges, or takes them all.
  let skip = range !== undefined && response.statusCode === 200 ? range.start : 0;
  let left = range === undefined ? Infinity : range.end - range.start + 1;
  async function* read(): AsyncGenerator<Buffer> {
    const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    try {
      while (left > 0) {
        const timer = setTimeout(() => response.destroy(timedOut()), timeoutMs);
        const next = await chunks.next().finally(() => clearTimeout(timer));
        if (next.done === true) return;
        const wanted = next.value.subarray(skip, skip + left);
        skip = Math.max(0, skip - next.value.length);
        left -= wanted.length;
        if (wanted.length > 0) yield wanted;
      }
    } finally {
      response.destroy();
    }
  }
  return Readable.from(read(), { objectMode: false, highWaterMark: 256 * 1024 });
}

/** Removes what was uploaded in parts and never completed. */
async function removeParts(client: Client, bucket: string, name: string): Promise<void> {
  try {
    const uploadId = await client.findUploadId(bucket, name);
    if (uploadId !== undefined) await client.abortMultipartUpload(bucket, name, uploadId);
  } catch (error) {
    // Some servers cannot list them, and clear them up by themselves.
    if (!ABSENT.has(codeOf(error)) && codeOf(error) !== "NotImplemented") throw unavailable(error);
  }
}

async function ask<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw unavailable(error);
  }
}

async function unlessAbsent<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (ABSENT.has(codeOf(error))) return undefined;
    throw unavailable(error);
  }
}

function unavailable(error: unknown): BlobStoreUnavailable {
  if (error instanceof BlobStoreUnavailable) return error;
  return new BlobStoreUnavailable("the object store failed", { cause: error });
}

function timedOut(): BlobStoreUnavailable {
  return new BlobStoreUnavailable("the object store does not answer", { isTimeout: true });
}

function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
  return typeof code === "string" ? code : "";
}
