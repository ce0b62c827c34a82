/** Writes answers: headers, JSON, bytes and streams. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { MatrixError } from "../spec/errors.ts";
import { Reply } from "./route.ts";

/** A request and its answer. */
export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  traceId: string;
  path: string;
  /** Whether the connection ends with this answer, since the server stops. */
  isLast: boolean;
  /** The methods that the path has, where it was asked with another. */
  allow: readonly string[] | undefined;
}

/** Time in ms for which the rest of a body that nobody wants is read and thrown away. */
const LINGER_MS = 2_000;

/** A large answer of which nobody reads anything for this time in ms is given up. */
const STALLED_MS = 60_000;
const LARGE_BYTES = 64 * 1024;

/** https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients */
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
  "access-control-allow-headers": "X-Requested-With, Content-Type, Authorization",
  "access-control-expose-headers": "Retry-After, X-Trace-Id, ETag",
};
/** Paths that web clients call: not those of servers, application services and administrators. */
const CORS_PATHS = /^\/(?:_matrix\/(?!federation\/|key\/|app\/)|\.well-known\/matrix\/)/;

const CORS_LIST = Object.entries(CORS).flat();

/** Answers an OPTIONS request; the endpoint is not asked. */
export function writePreflight(exchange: Exchange): void {
  const headers = new Map([
    ["allow", CORS["access-control-allow-methods"]],
    ["access-control-max-age", "86400"],
  ]);
  writeHead(exchange, 204, undefined, headers);
  exchange.response.end();
}

/**
 * Writes what a handler gave.
 *
 * @returns for a stream, what ends when it is written; rejects where reading it fails
 */
export function writeResult(exchange: Exchange, result: unknown): Promise<void> | undefined {
  if (!(result instanceof Reply)) return writeJson(exchange, 200, result);
  const { status, body } = result;
  const headers = new Map(Object.entries(result.headers).map(([k, v]) => [k.toLowerCase(), v]));
  if (body instanceof Readable) return writeStream(exchange, status, body, headers);
  if (body instanceof Uint8Array) {
    if (!headers.has("content-type")) headers.set("content-type", "application/json");
    writeHead(exchange, status, body.byteLength, headers);
    exchange.response.end(body);
    return undefined;
  }
  if (body === undefined) {
    writeHead(exchange, status, status === 204 || status === 304 ? undefined : 0, headers);
    exchange.response.end();
    return undefined;
  }
  return writeJson(exchange, status, body, headers);
}

/** Writes an error, or cuts the connection where an answer has already begun. */
export function writeError(exchange: Exchange, error: MatrixError): void {
  const { response } = exchange;
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const headers = new Map<string, string>();
  if (exchange.allow !== undefined) headers.set("allow", [...exchange.allow, "OPTIONS"].join(", "));
  const retryAfterMs = error.fields["retry_after_ms"];
  if (typeof retryAfterMs === "number") {
    headers.set("retry-after", String(Math.ceil(retryAfterMs / 1000)));
  } else if (error.status === 503) headers.set("retry-after", "1");
  writeJson(exchange, error.status, error.toJSON(), headers);
}

function writeJson(
  exchange: Exchange,
  status: number,
  value: unknown,
  headers?: Map<string, string>,
): undefined {
  const text = JSON.stringify(value);
  if (text === undefined) throw new Error("a handler gave nothing to answer");
  const length = Buffer.byteLength(text);
  writeHead(exchange, status, length, headers, "application/json");
  // As many bytes as characters: ASCII, which goes out faster as what it is.
  exchange.response.end(text, length === text.length ? "latin1" : "utf8");
}

async function writeStream(
  exchange: Exchange,
  status: number,
  body: Readable,
  headers: Map<string, string>,
): Promise<void> {
  const { request, response } = exchange;
  if (request.method === "HEAD" || response.destroyed) {
    body.destroy();
    if (response.destroyed) return;
    writeHead(exchange, status, undefined, headers);
    response.end();
    return;
  }
  // Its first bytes, or that there are none, before a status is promised.
  if (body.readableLength === 0 && !body.readableEnded) await once(body, "readable");
  writeHead(exchange, status, undefined, headers);
  await pipeline(body, response);
}

function writeHead(
  exchange: Exchange,
  status: number,
  length: number | undefined,
  headers?: ReadonlyMap<string, string>,
  type?: string,
): void {
  const list = ["x-trace-id", exchange.traceId, "x-content-type-options", "nosniff"];
  if (type !== undefined && headers?.has("content-type") !== true) list.push("content-type", type);
  if (length !== undefined) list.push("content-length", String(length));
  if (headers?.has("cache-control") !== true) list.push("cache-control", "no-store");
  if (exchange.isLast) list.push("connection", "close");
  if (CORS_PATHS.test(exchange.path)) list.push(...CORS_LIST);
  if (headers !== undefined) for (const [name, value] of headers) list.push(name, value);
  linger(exchange);
  if (length === undefined || length > LARGE_BYTES) exchange.response.setTimeout(STALLED_MS);
  exchange.response.writeHead(status, list);
}

/**
 * Bounds what is left of a body when the answer is ready before it.
 *
 * Node reads it to its end to reach the next request; closing at once would make clients that
 * are still sending lose the answer.
 */
function linger({ request, response }: Exchange): void {
  if (request.complete) return;
  response.once("finish", () => {
    if (request.complete) return;
    const timer = setTimeout(() => request.socket.destroy(), LINGER_MS);
    // A request closes when it was read to its end, and with its socket.
    request.once("close", () => clearTimeout(timer));
  });
}
