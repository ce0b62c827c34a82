/** Reads what a request carries, within bounds of size and time. */
import type { IncomingMessage } from "node:http";
import { MatrixError } from "../spec/errors.ts";
import { parseJson } from "../spec/strict-json.ts";

/** Deepest nesting of a client's JSON. */
const MAX_DEPTH = 100;
/** Time in ms for the whole of a JSON body. */
const BODY_TIMEOUT_MS = 30_000;
/** A streamed body that brings less than this in an interval, while we wait for it, is given up. */
const MIN_STREAM_BYTES = 4096;
const STREAM_INTERVAL_MS = 10_000;

const NOT_IDENTITY = "a compressed body is not accepted";

/**
 * @returns the JSON value of a body
 * @throws MatrixError M_TOO_LARGE beyond `maxBytes`, M_NOT_JSON for what is not JSON
 */
export async function readJson(
  request: IncomingMessage,
  { maxBytes, emptyAsObject }: { maxBytes: number; emptyAsObject: boolean },
): Promise<unknown> {
  refuseEncoding(request);
  const type = request.headers["content-type"];
  if (type !== undefined && /^\s*multipart\//i.test(type)) {
    throw new MatrixError("M_NOT_JSON", "a multipart body is not accepted here");
  }
  refuseLength(request, maxBytes);
  const bytes = await readAll(request, maxBytes);
  if (bytes.length === 0) {
    if (emptyAsObject) return {};
    throw new MatrixError("M_NOT_JSON", "the body is empty");
  }
  return parseJson(bytes, { maxDepth: MAX_DEPTH });
}

/**
 * Gives up a body that comes too slowly while its reader waits for it.
 *
 * @returns ends the watch
 */
export function watchStream(request: IncomingMessage): () => void {
  let before = request.socket.bytesRead;
  const timer = setInterval(() => {
    if (request.complete) return clearInterval(timer);
    const now = request.socket.bytesRead;
    // Where something is left in the buffer, we are the slow ones.
    if (request.readableLength === 0 && now - before < MIN_STREAM_BYTES) {
      request.destroy(new MatrixError("M_UNKNOWN", "the body came too slowly", { status: 408 }));
    }
    before = now;
  }, STREAM_INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** @throws MatrixError for a compressed body: what it would inflate to is not bounded by its length */
export function refuseEncoding(request: IncomingMessage): void {
  const encoding = request.headers["content-encoding"];
  if (encoding === undefined || encoding.toLowerCase() === "identity") return;
  throw new MatrixError("M_NOT_JSON", NOT_IDENTITY, { status: 415 });
}

/** @throws MatrixError M_TOO_LARGE where the request says that it is too large */
export function refuseLength(request: IncomingMessage, maxBytes: number): void {
  const length = request.headers["content-length"];
  if (length !== undefined && Number(length) > maxBytes) throw tooLarge(maxBytes);
}

function readAll(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const timer = setTimeout(() => {
      fail(new MatrixError("M_UNKNOWN", "the body came too slowly", { status: 408 }));
    }, BODY_TIMEOUT_MS);
    const fail = (error: Error): void => {
      clearTimeout(timer);
      request.off("data", onData).off("end", onEnd);
      request.pause();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > maxBytes) return fail(tooLarge(maxBytes));
      chunks.push(chunk);
    };
    const onEnd = (): void => {
      clearTimeout(timer);
      const [first] = chunks;
      resolve(chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks, size));
    };
    request.on("data", onData).once("end", onEnd).once("error", fail);
  });
}

function tooLarge(maxBytes: number): MatrixError {
  return new MatrixError("M_TOO_LARGE", `the body is larger than ${maxBytes} bytes`);
}
