/**
 * What surrounds every endpoint: the one file that knows Koa.
 *
 * It finds the route, the caller and the limits, reads params, query and body through the route's
 * shapes, calls the handler and writes what it gives.
 * https://spec.matrix.org/v1.19/client-server-api/#api-standards
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import Koa from "koa";
import { MatrixError } from "../spec/errors.ts";
import { clientAddress, type TrustedProxies } from "./client-address.ts";
import { histogram, isTracing, withSpan } from "./instruments.ts";
import { type Log, withRequest } from "./log.ts";
import { firstOf, parseQuery, type Query, splitUrl } from "./query.ts";
import type { RateLimits } from "./rate-limits/rate-limits.ts";
import { readJson, refuseEncoding, refuseLength, watchStream } from "./request-body.ts";
import { type Exchange, writeError, writePreflight, writeResult } from "./response.ts";
import { type Call, type Caller, ClientGone, Draining, type Route } from "./route.ts";
import { RouteTree } from "./route-tree.ts";
import { newTraceId } from "./trace-id.ts";

/** What is known of a request when its token is looked at. */
export interface TokenUse {
  /** The user and device that an application service says it acts as. */
  userIdParam: string | undefined;
  deviceIdParam: string | undefined;
  /** Whether a locked user passes. */
  evenLocked: boolean;
  clientAddress: string;
  userAgent: string;
}

/**
 * Finds who an access token belongs to.
 *
 * @throws MatrixError M_UNKNOWN_TOKEN, M_USER_LOCKED; M_FORBIDDEN or M_EXCLUSIVE for an application
 *   service that acts as a user not its own
 */
export type Authenticate = (token: string, use: TokenUse) => Promise<Caller>;

export interface HttpOptions {
  routes: readonly Route[];
  authenticate: Authenticate;
  rateLimits: Pick<RateLimits, "takeFor">;
  log: Log;
  /** Peers that may say for whom they speak; undefined where `X-Forwarded-For` is not looked at. */
  trustedProxies?: TrustedProxies | undefined;
  /** Finds the answer to an error that is no MatrixError: to a database that is away, say. */
  translate?: ((error: unknown) => MatrixError | undefined) | undefined;
}

export interface Http {
  readonly listener: RequestListener;
  /** Asks handlers that wait to answer now: those that wait for news, or all. */
  release(which: "longPolls" | "all"): void;
}

/** Most bytes of a JSON body where its route says nothing. */
const DEFAULT_BODY_BYTES = 64 * 1024;
const MAX_HEADERS = 100;
const MAX_LOGGED_CHARS = 255;
/** Parameters of a path that are never logged. */
const SECRET_PARAM = /token|secret|session|password/i;

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]);

const durations = histogram("http.server.request.duration.seconds", {
  description: "Time from a request to the end of its answer.",
  unit: "s",
  buckets: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
});

/** One request on its way, and what was learned about it. */
class Flight implements Exchange {
  readonly startedAt = performance.now();
  traceId = newTraceId();
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly search: string;
  isLast = false;
  allow: readonly string[] | undefined = undefined;
  fields: Record<string, unknown> | undefined = undefined;
  route: Route | undefined = undefined;
  params: Record<string, string> | undefined = undefined;
  address: string | undefined = undefined;
  caller: Caller | undefined = undefined;
  /** Made only for the few handlers that wait. */
  controller: AbortController | undefined = undefined;
  error: unknown = undefined;
  /** Our part is done. */
  isServed = false;
  /** The answer is written, or the client has gone. */
  isClosed = false;

  constructor(request: IncomingMessage, response: ServerResponse) {
    const { path, search } = splitUrl(request.url ?? "/");
    this.request = request;
    this.response = response;
    this.path = path;
    this.search = search;
  }

  get userAgent(): string {
    return this.request.headers["user-agent"] ?? "";
  }
}

/** What a handler is given. A class, since an object literal with a getter takes 8 µs to make. */
class RequestCall implements Call<unknown, unknown, unknown> {
  readonly caller: Caller;
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  readonly clientAddress: string;
  readonly userAgent: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly stream: IncomingMessage;
  readonly #flight: Flight;
  readonly #open: (flight: Flight) => AbortSignal;

  constructor(
    flight: Flight,
    params: unknown,
    query: unknown,
    body: unknown,
    open: (flight: Flight) => AbortSignal,
  ) {
    // Only handlers of routes that are open to all see it as possibly absent.
    this.caller = flight.caller as Caller;
    this.params = params;
    this.query = query;
    this.body = body;
    this.clientAddress = flight.address ?? "";
    this.userAgent = flight.userAgent;
    // Node joins what is repeated into one string, but for Set-Cookie, which no request bears.
    this.headers = flight.request.headers as Readonly<Record<string, string | undefined>>;
    this.stream = flight.request;
    this.#flight = flight;
    this.#open = open;
  }

  get signal(): AbortSignal {
    return this.#open(this.#flight);
  }
}

export function createHttp(options: HttpOptions): Http {
  const { authenticate, rateLimits, log } = options;
  const tree = new RouteTree(options.routes);
  const waiting = new Map<AbortController, Route | undefined>();
  let released: "none" | "longPolls" | "all" = "none";

  const app = new Koa();
  // What goes wrong with a socket after its answer was written is nobody's concern.
  app.on("error", (error: unknown) => log.debug({ err: error }, "connection failed"));
  app.use((context) => {
    context.respond = false;
    const flight = new Flight(context.req, context.res);
    context.res.once("close", () => {
      release(flight);
      flight.isClosed = true;
      if (flight.isServed) finish(flight);
    });
    return withRequest(flight, () => (isTracing() ? serveTraced(flight) : serve(flight)));
  });

  function serveTraced(flight: Flight): Promise<void> {
    const { method = "" } = flight.request;
    return withSpan(method, { "http.request.method": method }, async (span) => {
      flight.traceId = span?.spanContext().traceId ?? flight.traceId;
      await serve(flight);
      if (flight.route !== undefined) {
        span?.updateName(`${method} ${flight.route.path}`);
        span?.setAttribute("http.route", flight.route.path);
      }
      span?.setAttribute("http.response.status_code", flight.response.statusCode);
    });
  }

  async function serve(flight: Flight): Promise<void> {
    try {
      refuseHeaders(flight.request);
      if (flight.request.method === "OPTIONS") return writePreflight(flight);
      const result = await handle(flight);
      flight.isLast = released !== "none";
      const written = writeResult(flight, result);
      if (written !== undefined) await written;
    } catch (error) {
      flight.error = error;
      flight.isLast = released !== "none";
      writeError(flight, explain(error, flight));
    } finally {
      flight.isServed = true;
      if (flight.isClosed) finish(flight);
    }
  }

  /** The steps between a request and its handler, in the order in which they may refuse it. */
  async function handle(flight: Flight): Promise<unknown> {
    const { request } = flight;
    const match = find(flight);
    const { route } = match;
    flight.route = route;
    flight.address = clientAddress(
      request.socket.remoteAddress,
      request.headers["x-forwarded-for"],
      options.trustedProxies,
    );
    flight.params = match.read();
    const rawQuery = parseQuery(flight.search);
    if (route.access !== "public") flight.caller = await identify(route, flight, rawQuery);
    const { caller, address } = flight;
    if (route.rateLimit !== undefined) {
      await rateLimits.takeFor(route.rateLimit, { caller, clientAddress: address });
    }
    const params = route.params === undefined ? {} : route.params.read(flight.params, "path");
    const query = route.query === undefined ? {} : route.query.read(rawQuery, "query");
    const body = route.body === undefined ? undefined : await readBody(route, request);
    const call = new RequestCall(flight, params, query, body, openSignal);
    if (route.body !== "stream") return route.handle(call);
    const unwatch = watchStream(request);
    try {
      return await route.handle(call);
    } finally {
      unwatch();
    }
  }

  /** @throws MatrixError M_UNRECOGNIZED for a path that we do not know, or not with this method */
  function find(flight: Flight): { route: Route; read: () => Record<string, string> } {
    const { method = "" } = flight.request;
    const match = tree.find(method === "HEAD" ? "GET" : method, flight.path);
    if (match === undefined) throw new MatrixError("M_UNRECOGNIZED", "Unrecognized request");
    if (match.route !== undefined) return match;
    flight.allow = match.allowed;
    throw new MatrixError("M_UNRECOGNIZED", "Unrecognized method", { status: 405 });
  }

  async function identify(
    route: Route,
    { request, address = "", userAgent }: Flight,
    query: Query,
  ): Promise<Caller | undefined> {
    const token = bearer(request.headers.authorization) ?? firstOf(query, "access_token");
    if (token === undefined && route.access === "optional") return undefined;
    if (token === undefined || token === "") {
      throw new MatrixError("M_MISSING_TOKEN", "Missing access token");
    }
    const caller = await authenticate(token, {
      userIdParam: firstOf(query, "user_id"),
      deviceIdParam: firstOf(query, "device_id") ?? firstOf(query, "org.matrix.msc3202.device_id"),
      evenLocked: route.access === "user-even-locked",
      clientAddress: address,
      userAgent,
    });
    if (route.access === "admin" && !caller.isAdmin) {
      throw new MatrixError("M_FORBIDDEN", "You are not a server admin");
    }
    return caller;
  }

  function openSignal(flight: Flight): AbortSignal {
    if (flight.controller === undefined) {
      const controller = new AbortController();
      const { route } = flight;
      flight.controller = controller;
      if (flight.response.destroyed) controller.abort(new ClientGone());
      else if (isReleased(route)) controller.abort(new Draining());
      else waiting.set(controller, route);
    }
    return flight.controller.signal;
  }

  function isReleased(route: Route | undefined): boolean {
    return released === "all" || (released === "longPolls" && route?.longPoll === true);
  }

  /** What an error says to the client. */
  function explain(error: unknown, { traceId }: Flight): MatrixError {
    if (error instanceof MatrixError) return error;
    if (error instanceof Draining) {
      return new MatrixError("M_UNKNOWN", "The server is restarting", { status: 503 });
    }
    return (
      options.translate?.(error) ??
      new MatrixError("M_UNKNOWN", `Internal server error; trace id ${traceId}`)
    );
  }

  /** Lets go of a signal that nobody needs any more. */
  function release({ controller, response }: Flight): void {
    if (controller === undefined) return;
    waiting.delete(controller);
    if (!response.writableFinished) controller.abort(new ClientGone());
  }

  /** Once the answer is written or the client has gone, and our part is done. */
  function finish(flight: Flight): void {
    const { request, response, route, error } = flight;
    const durationMs = performance.now() - flight.startedAt;
    const isAborted = !response.writableFinished;
    const status = isAborted ? abortedStatus(error) : response.statusCode;
    const line = describe(flight, status, durationMs);
    if (error !== undefined && status >= 500) log.error(line, "request failed");
    else if (route?.isProbe === true) log.debug(line, "request");
    else log.info(line, "request");
    durations.record(durationMs / 1000, {
      "http.request.method": METHODS.has(request.method ?? "") ? request.method : "_OTHER",
      "http.route": route?.path ?? "none",
      "http.response.status_code": status,
    });
  }

  const callback = app.callback();
  return {
    listener: (request, response) => {
      // Koa's promise never rejects.
      void callback(request, response);
    },
    release(which) {
      released = which;
      for (const [controller, route] of waiting) {
        if (isReleased(route)) controller.abort(new Draining());
      }
    },
  };
}

function readBody(route: Route, request: IncomingMessage): Promise<unknown> | undefined {
  if (route.body === undefined) return undefined;
  if (route.body === "stream") {
    refuseEncoding(request);
    if (route.maxBodyBytes !== undefined) refuseLength(request, route.maxBodyBytes);
    return undefined;
  }
  const shape = route.body;
  return readJson(request, {
    maxBytes: route.maxBodyBytes ?? DEFAULT_BODY_BYTES,
    emptyAsObject: route.emptyBody === true,
  }).then((value) => shape.read(value, "body"));
}

/** Node keeps the first of these where a strict server refuses two. */
function refuseHeaders({ rawHeaders }: IncomingMessage): void {
  if (rawHeaders.length > 2 * MAX_HEADERS) {
    throw new MatrixError("M_UNKNOWN", `more than ${MAX_HEADERS} headers`, { status: 431 });
  }
  let hosts = 0;
  let authorizations = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? "";
    if (name.length === 4 && name.toLowerCase() === "host") hosts += 1;
    else if (name.length === 13 && name.toLowerCase() === "authorization") authorizations += 1;
  }
  if (hosts > 1 || authorizations > 1) {
    throw new MatrixError("M_UNKNOWN", "a header is repeated", { status: 400 });
  }
}

/** The token of an `Authorization` header; undefined where it is of another scheme. */
function bearer(authorization: string | undefined): string | undefined {
  if (authorization === undefined || !/^bearer(?:\s|$)/i.test(authorization)) return undefined;
  return authorization.slice("bearer".length).trim();
}

/** 499 is how proxies log a client that did not wait; an answer may also have broken off by our fault. */
function abortedStatus(error: unknown): number {
  const isOurs =
    error instanceof Error &&
    !(error instanceof MatrixError) &&
    !(error instanceof ClientGone) &&
    !["ERR_STREAM_PREMATURE_CLOSE", "ECONNRESET", "EPIPE"].includes(
      String(Reflect.get(error, "code")),
    );
  return isOurs ? 500 : 499;
}

/** The one line that is logged for a request. */
function describe(flight: Flight, status: number, durationMs: number): Record<string, unknown> {
  const { route, params, caller, error } = flight;
  const line: Record<string, unknown> = {
    traceId: flight.traceId,
    method: flight.request.method,
    route: route?.path,
    status,
    ms: Math.round(durationMs * 10) / 10,
    ip: flight.address,
    user: caller?.userId,
    device: caller?.deviceId,
  };
  if (route === undefined) line["path"] = flight.path.slice(0, MAX_LOGGED_CHARS);
  for (const name in params) {
    if (!SECRET_PARAM.test(name)) line[name] = params[name]?.slice(0, MAX_LOGGED_CHARS);
  }
  if (error instanceof MatrixError) line["errcode"] = error.errcode;
  if (error !== undefined && status >= 500) line["err"] = error;
  return flight.fields === undefined ? line : Object.assign(line, flight.fields);
}
