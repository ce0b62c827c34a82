/** The body of an answer, bounded in size before and after inflating, and in time. */
import type { IncomingMessage } from "node:http";
import { type Readable, Transform } from "node:stream";
import { createGunzip } from "node:zlib";
import { OutboundError } from "./outbound-error.ts";

export interface BodyBounds {
  maxBytes: number;
  /** Time in ms without a byte, while somebody waits for one, after which it fails. */
  idleMs: number;
  /** Aborted when the time for the whole is over. */
  signal: AbortSignal;
  /** Called once, when nothing more comes. */
  onEnd(): void;
}

/** @throws OutboundError for an encoding that was not asked for, and a length beyond the bound */
export function boundedBody(response: IncomingMessage, bounds: BodyBounds): Readable {
  const { maxBytes } = bounds;
  const encoding = response.headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  if (!["identity", "", "gzip", "x-gzip"].includes(encoding)) {
    throw new OutboundError("bad-response", "an encoding that was not asked for");
  }
  if (Number(response.headers["content-length"] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const raw = counter(maxBytes);
  const inflate = encoding.endsWith("gzip") ? createGunzip() : undefined;
  const body = inflate === undefined ? raw : counter(maxBytes);
  const fail = (error: unknown): void => void body.destroy(explain(error));
  const stop = watch(response, body, bounds);
  body.once("close", () => {
    stop();
    response.destroy();
    inflate?.destroy();
    bounds.onEnd();
  });
  response.once("error", fail).once("close", () => {
    if (!response.complete) fail(new Error("closed before its end"));
  });
  // Its reader may not be there yet when it fails; who reads it later is told.
  body.on("error", () => undefined);
  response.pipe(raw);
  if (inflate !== undefined) {
    raw.once("error", fail).pipe(inflate).once("error", fail).pipe(body);
  }
  return body;
}

function counter(maxBytes: number): Transform {
  let bytes = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > maxBytes) done(tooLarge(maxBytes));
      else done(null, chunk);
    },
  });
}

/** Fails the body when its sender is slow. When its reader is slow, nothing arrives either. */
function watch(response: IncomingMessage, body: Transform, bounds: BodyBounds): () => void {
  const { idleMs, signal } = bounds;
  let arrived = performance.now();
  const timer = setInterval(
    () => {
      if (body.readableLength > 0) arrived = performance.now();
      else if (performance.now() - arrived >= idleMs) {
        body.destroy(new OutboundError("timeout", "the body came too slowly"));
      }
    },
    Math.max(10, idleMs / 4),
  );
  const onAbort = (): void => void body.destroy(signal.reason as Error);
  response.on("data", () => {
    arrived = performance.now();
  });
  signal.addEventListener("abort", onAbort);
  return () => {
    clearInterval(timer);
    signal.removeEventListener("abort", onAbort);
  };
}

function explain(error: unknown): Error {
  if (error instanceof OutboundError) return error;
  const code = error instanceof Error ? Reflect.get(error, "code") : undefined;
  if (typeof code === "string" && code.startsWith("Z_")) {
    return new OutboundError("bad-response", "not gzip", { cause: error });
  }
  return new OutboundError("unreachable", "the connection broke", { cause: error });
}

function tooLarge(maxBytes: number): OutboundError {
  return new OutboundError("too-large", `the body is larger than ${maxBytes} bytes`);
}
