/** Reads the target of a request: its path and its query. */
import { MatrixError } from "../spec/errors.ts";

/** A parameter that is given more than once is a list. */
export type Query = Record<string, string | string[]>;

const MAX_PARAMETERS = 200;
const NONE: Query = Object.freeze({});

/** The path as it was sent, and the query without its `?`. */
export function splitUrl(target: string): { path: string; search: string } {
  // A proxy may send the absolute form.
  const at = target.startsWith("/") ? 0 : startOfPath(target);
  const query = target.indexOf("?", at);
  return query < 0
    ? { path: target.slice(at), search: "" }
    : { path: target.slice(at, query), search: target.slice(query + 1) };
}

/**
 * @param search a query without its `?`
 * @throws MatrixError M_INVALID_PARAM for what is not percent-encoded UTF-8
 */
export function parseQuery(search: string): Query {
  if (search === "") return NONE;
  // Without a prototype `__proto__` is a name like any other.
  const query: Query = Object.create(null);
  const pairs = search.split("&");
  if (pairs.length > MAX_PARAMETERS) {
    throw new MatrixError("M_INVALID_PARAM", `query: more than ${MAX_PARAMETERS} parameters`);
  }
  for (const pair of pairs) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    const value = equals < 0 ? "" : decode(pair.slice(equals + 1));
    const before = query[name];
    if (before === undefined) query[name] = value;
    else if (typeof before === "string") query[name] = [before, value];
    else before.push(value);
  }
  return query;
}

/** The first value of a parameter. */
export function firstOf(query: Query, name: string): string | undefined {
  const value = Object.hasOwn(query, name) ? query[name] : undefined;
  return typeof value === "string" ? value : value?.[0];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch (cause) {
    throw new MatrixError("M_INVALID_PARAM", "query: not percent-encoded UTF-8", { cause });
  }
}

function startOfPath(target: string): number {
  const scheme = target.indexOf("://");
  const slash = target.indexOf("/", scheme < 0 ? 0 : scheme + 3);
  return slash < 0 ? target.length : slash;
}
