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
import { type Log, withRequest } from "./log.ts";
import { firstOf, parseQuery, type Query, splitUrl } from "./query.ts";
import type { RateLimits } from "./rate-limits/rate-limits.ts";
import { readJson, refuseEncoding, refuseLength, watchStream } from "./request-body.ts";
import { type Exchange, writeError, writePreflight, writeResult } from "./response.ts";
import { type Caller, ClientGone, Draining, type Route } from "./route.ts";
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
  /** Told of every answered request. */
  onAnswered?: ((answer: Answered) => void) | undefined;
}

export interface Answered {
  method: string;
  /** The path of the route, its parameters by name; `none` where no route was found. */
  route: string;
  status: number;
  durationMs: number;
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

export function createHttp(options: HttpOptions): Http {
  const { authenticate, rateLimits, log } = options;
  const tree = new RouteTree(options.routes);
  const waiting = new Map<AbortController, Route>();
  let released: "none" | "longPolls" | "all" = "none";

  const app = new Koa();
  // What goes wrong with a socket after its answer was written is nobody's concern.
  app.on("error", (error: unknown) => log.debug({ err: error }, "connection failed"));
  app.use((context) => {
    context.respond = false;
    return serve(context.req, context.res);
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now();
    const { path, search } = splitUrl(request.url ?? "/");
    const exchange: Exchange = {
      request,
      response,
      traceId: newTraceId(),
      path,
      isLast: released !== "none",
    };
    const state: State = { search, fields: undefined, traceId: exchange.traceId };
    response.once("close", () => {
      finish(exchange, state, startedAt);
    });
    await withRequest(state, async () => {
      try {
        const result = await handle(exchange, state);
        if (result !== PREFLIGHT) await writeResult(exchange, result);
      } catch (error) {
        state.error = error;
        writeError(exchange, explain(error, exchange));
      }
    });
  }

  /** The steps between a request and its handler, in the order in which they may refuse it. */
  async function handle(exchange: Exchange, state: State): Promise<unknown> {
    const { request, path } = exchange;
    refuseHeaders(request);
    if (request.method === "OPTIONS") {
      writePreflight(exchange);
      return PREFLIGHT;
    }
    const method = request.method === "HEAD" ? "GET" : (request.method ?? "");
    const match = tree.find(method, path);
    if (match === undefined) throw new MatrixError("M_UNRECOGNIZED", "Unrecognized request");
    if (match.route === undefined) {
      exchange.allow = match.allowed;
      throw new MatrixError("M_UNRECOGNIZED", "Unrecognized method", { status: 405 });
    }
    const { route } = match;
    state.route = route;
    state.address = clientAddress(
      request.socket.remoteAddress,
      single(request.headers["x-forwarded-for"]),
      options.trustedProxies,
    );
    const params = match.read();
    state.params = params;
    const query = parseQuery(state.search);
    const caller = await identify(route, exchange, query, state.address);
    state.caller = caller;
    if (route.rateLimit !== undefined) {
      await rateLimits.takeFor(route.rateLimit, { caller, clientAddress: state.address });
    }
    return call(route, exchange, state, params, query);
  }

  async function identify(
    route: Route,
    { request }: Exchange,
    query: Query,
    address: string,
  ): Promise<Caller | undefined> {
    if (route.access === "public") return undefined;
    const token = bearer(request.headers.authorization) ?? firstOf(query, "access_token");
    if (token === undefined || token === "") {
      if (route.access === "optional" && token === undefined) return undefined;
      throw new MatrixError("M_MISSING_TOKEN", "Missing access token");
    }
    const caller = await authenticate(token, {
      userIdParam: firstOf(query, "user_id"),
      deviceIdParam: firstOf(query, "device_id") ?? firstOf(query, "org.matrix.msc3202.device_id"),
      evenLocked: route.access === "user-even-locked",
      clientAddress: address,
      userAgent: request.headers["user-agent"] ?? "",
    });
    if (route.access === "admin" && !caller.isAdmin) {
      throw new MatrixError("M_FORBIDDEN", "You are not a server admin");
    }
    return caller;
  }

  async function call(
    route: Route,
    exchange: Exchange,
    state: State,
    rawParams: unknown,
    rawQuery: Query,
  ): Promise<unknown> {
    const { request } = exchange;
    const params = route.params === undefined ? {} : route.params.read(rawParams, "path");
    const query = route.query === undefined ? {} : route.query.read(rawQuery, "query");
    const body = await readBody(route, request);
    const unwatch = route.body === "stream" ? watchStream(request) : undefined;
    try {
      return await route.handle({
        caller: state.caller,
        params,
        query,
        body,
        get signal() {
          return openSignal(route, exchange, state);
        },
        clientAddress: state.address ?? "",
        userAgent: request.headers["user-agent"] ?? "",
        // Node joins what is repeated into one string, but for Set-Cookie, which no request bears.
        headers: request.headers as Readonly<Record<string, string | undefined>>,
        stream: request,
      });
    } finally {
      unwatch?.();
    }
  }

  /** Made only for the few handlers that wait. */
  function openSignal(route: Route, { response }: Exchange, state: State): AbortSignal {
    if (state.controller === undefined) {
      const controller = new AbortController();
      state.controller = controller;
      if (response.destroyed) controller.abort(new ClientGone());
      else if (isReleased(route)) controller.abort(new Draining());
      else waiting.set(controller, route);
    }
    return state.controller.signal;
  }

  function isReleased(route: Route): boolean {
    return released === "all" || (released === "longPolls" && route.longPoll === true);
  }

  /** What an error says to the client. */
  function explain(error: unknown, { traceId }: Exchange): MatrixError {
    if (error instanceof MatrixError) return error;
    if (error instanceof Draining) {
      return new MatrixError("M_UNKNOWN", "The server is restarting", { status: 503 });
    }
    return (
      options.translate?.(error) ??
      new MatrixError("M_UNKNOWN", `Internal server error; trace id ${traceId}`)
    );
  }

  /** Once the answer is written or the client has gone. */
  function finish(exchange: Exchange, state: State, startedAt: number): void {
    const { request, response, traceId, path } = exchange;
    const durationMs = performance.now() - startedAt;
    const isAborted = !response.writableFinished;
    if (state.controller !== undefined) {
      waiting.delete(state.controller);
      if (isAborted) state.controller.abort(new ClientGone());
    }
    // The status by which proxies log a client that did not wait.
    const status = isAborted ? 499 : response.statusCode;
    const { route, error } = state;
    const method = request.method ?? "";
    const line = {
      traceId,
      method,
      route: route?.path,
      ...(route === undefined ? { path: path.slice(0, MAX_LOGGED_CHARS) } : loggable(state.params)),
      status,
      ms: Math.round(durationMs * 10) / 10,
      ip: state.address,
      user: state.caller?.userId,
      device: state.caller?.deviceId,
      ...(error instanceof MatrixError ? { errcode: error.errcode } : {}),
      ...state.fields,
    };
    if (error !== undefined && status >= 500) log.error({ ...line, err: error }, "request failed");
    else if (route?.isProbe === true) log.debug(line, "request");
    else log.info(line, "request");
    options.onAnswered?.({ method, route: route?.path ?? "none", status, durationMs });
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

/** What is learned about a request on its way. */
interface State {
  search: string;
  traceId: string;
  fields: Record<string, unknown> | undefined;
  route?: Route;
  params?: Record<string, string>;
  address?: string;
  caller?: Caller | undefined;
  controller?: AbortController;
  error?: unknown;
}

const PREFLIGHT = Symbol("preflight");

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
function refuseHeaders(request: IncomingMessage): void {
  const { rawHeaders } = request;
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
  if (authorization === undefined) return undefined;
  return /^bearer(?:\s+(.*))?$/i
    .exec(authorization)
    ?.slice(1)
    .map((token) => token ?? "")[0];
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(",") : value;
}

function loggable(params: Record<string, string> | undefined): Record<string, unknown> {
  if (params === undefined) return {};
  const kept = Object.entries(params)
    .filter(([name]) => !SECRET_PARAM.test(name))
    .map(([name, value]) => [name, value.slice(0, MAX_LOGGED_CHARS)] as const);
  return kept.length === 0 ? {} : { params: Object.fromEntries(kept) };
}
