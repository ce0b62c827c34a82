/** What an endpoint is: data, and one function from values to a value. It never sees Koa. */
import type { Readable } from "node:stream";
import type { UserId } from "../spec/identifiers.ts";
import type { Shape } from "../spec/shape.ts";
import type { RateLimitName } from "./rate-limits/rate-limits.ts";

export type Method = "GET" | "POST" | "PUT" | "DELETE";

/**
 * Who may call.
 *
 * - `public`: anyone; a token is not looked at
 * - `optional`: anyone; a token, where one is sent, must be good
 * - `user`: an access token of a user of ours; locked users are refused
 * - `user-even-locked`: the same, but a locked user passes (logout)
 * - `admin`: a user of ours who is a server administrator
 */
export type Access = "public" | "optional" | "user" | "user-even-locked" | "admin";

/** The user and device that a request acts as. */
export interface Caller {
  userId: UserId;
  /** Absent for an application service that named no device. */
  deviceId?: string;
  /** Identifies the access token's row; transaction IDs are scoped by the device, UIA by the session. */
  tokenId: number;
  isAdmin: boolean;
  isGuest: boolean;
  isSuspended: boolean;
  /** The id of the application service whose token it was. */
  appserviceId?: string;
}

/**
 * A request as a handler sees it: everything has been read through the route's shapes.
 *
 * `signal` is made when it is read: take it from the call itself, since `{ ...call }` has none.
 */
export interface Call<P, Q, B> {
  caller: Caller;
  params: P;
  query: Q;
  body: B;
  /** Aborted when the client goes away or the server drains; its `reason` is `ClientGone` or `Draining`. */
  signal: AbortSignal;
  /** Address of the client, from `X-Forwarded-For` only on a listener that trusts it. */
  clientAddress: string;
  userAgent: string;
  /** Lower-case names. */
  headers: Readonly<Record<string, string | undefined>>;
  /** The raw body, on a route with `body: "stream"`. */
  stream: Readable;
}

/** An answer that is not just a JSON value with status 200. */
export class Reply {
  readonly status: number;
  /** A JSON value, bytes of JSON already written, bytes of another type, or a stream. */
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string>>;

  constructor(body: unknown, options: { status?: number; headers?: Record<string, string> } = {}) {
    this.body = body;
    this.status = options.status ?? 200;
    this.headers = options.headers ?? {};
  }
}

/** Why a signal was aborted: nobody waits for the answer any more. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
}

/** Why a signal was aborted: the server stops. What waits for news answers with what there is. */
export class Draining extends Error {
  override readonly name = "Draining";
}

export interface RouteSpec<P, Q, B, A extends Access> {
  method: Method;
  /** The whole path, parameters as `:name`; a last `*name` takes the rest, slashes included. */
  path: string;
  /** Further paths of the same endpoint: `r0` and `unstable` spellings that clients in use still call. */
  aliases?: readonly string[];
  access: A;
  params?: Shape<P>;
  query?: Shape<Q>;
  /** A shape for a JSON body, or `stream` for a body that the handler reads itself. Absent: ignored. */
  body?: Shape<B> | "stream";
  /** Whether an empty body reads as `{}`. Some clients send none where an object may be empty. */
  emptyBody?: boolean;
  /** Most bytes of a JSON body; 64 KiB where the route names none. */
  maxBodyBytes?: number;
  /** The rate limit that it counts against, counted by user, or by address where nobody is logged in. */
  rateLimit?: RateLimitName;
  /** It may wait long for news: a draining server asks it at once to answer with what there is. */
  longPoll?: boolean;
  /** Asked every few seconds by machines: its requests are logged as `debug` only. */
  isProbe?: boolean;
  handle(
    call: Omit<Call<P, Q, B>, "caller"> & {
      caller: A extends "public" ? undefined : A extends "optional" ? Caller | undefined : Caller;
    },
  ): Promise<unknown>;
}

/** A route of any shape, as `http.ts` holds it. */
export interface Route extends Omit<RouteSpec<unknown, unknown, unknown, Access>, "handle"> {
  handle(
    call: Omit<Call<unknown, unknown, unknown>, "caller"> & { caller: Caller | undefined },
  ): Promise<unknown>;
}

/** Checks an endpoint's types and forgets them. */
export function route<
  P = Record<string, never>,
  Q = Record<string, never>,
  B = undefined,
  A extends Access = Access,
>(spec: RouteSpec<P, Q, B, A>): Route {
  // The shapes, read by http.ts just before the call, are what makes this true.
  return spec;
}
