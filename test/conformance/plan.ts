/** What a valid request of an operation is made of. */
import type { HttpRequest } from "../fixtures/http-client.ts";
import type { TestUser } from "../fixtures/test-user.ts";
import type { Operation } from "../spec-facts/facts.ts";
import type { World } from "./world.ts";

export interface Plan {
  /** Who asks; alice if absent. An operation without security is asked by nobody. */
  as?: TestUser;
  params?: Record<string, string>;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: unknown;
}

/** Makes what the request needs, and says what the request is. */
export type Prepare = (world: World) => Plan | Promise<Plan>;

/** By operationId. */
export type Plans = Record<string, Prepare>;

/** A request in parts, so that one of them can be changed. */
export interface Draft {
  method: string;
  /** Of the path, percent-encoded; with the name of the parameter that it is. */
  segments: { name?: string; text: string }[];
  /** Names and values, percent-encoded. */
  query: [name: string, value: string][];
  headers: Record<string, string>;
  /** Text and bytes are sent as they are, other values as JSON. */
  body?: unknown;
}

/** @throws Error where a parameter of the path has no value */
export function toDraft(operation: Operation, plan: Plan, world: World): Draft {
  const user = plan.as ?? world.alice;
  const named: Record<string, string> = {
    userId: user.userId,
    deviceId: user.deviceId,
    roomId: world.roomId,
    eventId: world.eventId,
    txnId: world.unique("t"),
    ...plan.params,
  };
  const segments = operation.path.split("/").map((segment) => {
    const name = /^\{(\w+)\}$/.exec(segment)?.[1];
    if (name === undefined) return { text: segment };
    const value = named[name];
    if (value === undefined) throw new Error(`${operation.id}: no value for {${name}}`);
    return { name, text: encodeURIComponent(value) };
  });
  const query = Object.entries(plan.query ?? {}).map(([name, value]): [string, string] => [
    encodeURIComponent(name),
    encodeURIComponent(value),
  ]);
  const token: Record<string, string> =
    operation.security === "none" ? {} : { authorization: `Bearer ${user.accessToken}` };
  return {
    method: operation.method,
    segments,
    query,
    headers: { ...token, ...plan.headers },
    ...(plan.body === undefined ? {} : { body: plan.body }),
  };
}

export function render({ method, segments, query, headers, body }: Draft): HttpRequest {
  const path = segments.map(({ text }) => text).join("/");
  const search = query.map(([name, value]) => `${name}=${value}`).join("&");
  return {
    method,
    path: search === "" ? path : `${path}?${search}`,
    headers,
    ...(body === undefined ? {} : { body: asSent(body) }),
  };
}

function asSent(body: unknown): string | Uint8Array {
  return typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body);
}
