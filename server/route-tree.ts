/**
 * Finds the route of a path: a tree of path segments.
 *
 * A lookup costs the number of segments and not the number of routes, and a fixed segment goes
 * before a parameter whatever the order in which routes were added.
 */
import { MatrixError } from "../spec/errors.ts";
import type { Route } from "./route.ts";

interface Target {
  route: Route;
  /** Names of the parameters, in the order of the path. */
  names: readonly string[];
}

type Targets = Map<string, Target>;

interface Node {
  fixed: Map<string, Node>;
  parameter: Node | undefined;
  here: Targets;
  /** Routes that take the rest of the path. */
  rest: Targets;
}

export type Match =
  /** `read` decodes the parameters; M_INVALID_PARAM where one is not percent-encoded UTF-8. */
  | { route: Route; read: () => Record<string, string> }
  /** The path is known with these methods only. */
  | { route: undefined; allowed: readonly string[] };

/** What a search collects on its way. */
interface Search {
  segments: readonly string[];
  method: string;
  values: string[];
  /** Methods of the path other than the one searched for. */
  allowed: string[] | undefined;
}

export class RouteTree {
  readonly #root = node();

  /** @throws Error for two routes of the same method and path: a mistake of ours */
  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      for (const path of [route.path, ...(route.aliases ?? [])]) this.#add(path, route);
    }
  }

  /**
   * @param path the path as sent, percent-encoded, without its query
   * @returns undefined where no route has this path
   */
  find(method: string, path: string): Match | undefined {
    const search: Search = { segments: path.split("/"), method, values: [], allowed: undefined };
    const target = descend(this.#root, 1, search);
    if (target !== undefined) {
      return { route: target.route, read: () => readParams(target.names, search.values) };
    }
    return search.allowed && { route: undefined, allowed: [...new Set(search.allowed)] };
  }

  #add(path: string, route: Route): void {
    const names: string[] = [];
    let at = this.#root;
    const [first, ...segments] = path.split("/");
    if (first !== "") throw new Error(`the path of a route starts with a slash: ${path}`);
    for (const [i, segment] of segments.entries()) {
      if (segment.startsWith("*")) {
        if (i !== segments.length - 1) throw new Error(`* stands only at the end: ${path}`);
        put(at.rest, route, [...names, segment.slice(1)], path);
        return;
      }
      if (segment.startsWith(":")) {
        names.push(segment.slice(1));
        at.parameter ??= node();
        at = at.parameter;
      } else {
        const next = at.fixed.get(segment) ?? node();
        at.fixed.set(segment, next);
        at = next;
      }
    }
    put(at.here, route, names, path);
  }
}

function node(): Node {
  return { fixed: new Map(), parameter: undefined, here: new Map(), rest: new Map() };
}

function put(targets: Targets, route: Route, names: string[], path: string): void {
  if (targets.has(route.method)) throw new Error(`two routes for ${route.method} ${path}`);
  if (new Set(names).size !== names.length) throw new Error(`a parameter twice: ${path}`);
  targets.set(route.method, { route, names });
}

/** Recurses at most as deep as the longest route. */
function descend(at: Node, index: number, search: Search): Target | undefined {
  const { segments, values } = search;
  const segment = segments[index];
  if (segment === undefined) return pick(at.here, search);
  const fixed = at.fixed.get(segment);
  if (fixed !== undefined) {
    const found = descend(fixed, index + 1, search);
    if (found !== undefined) return found;
  }
  if (at.parameter !== undefined) {
    values.push(segment);
    const found = descend(at.parameter, index + 1, search);
    if (found !== undefined) return found;
    values.pop();
  }
  if (at.rest.size === 0) return undefined;
  const found = pick(at.rest, search);
  if (found !== undefined) values.push(segments.slice(index).join("/"));
  return found;
}

function pick(targets: Targets, search: Search): Target | undefined {
  const target = targets.get(search.method);
  if (target === undefined && targets.size > 0) (search.allowed ??= []).push(...targets.keys());
  return target;
}

function readParams(names: readonly string[], values: readonly string[]): Record<string, string> {
  const params: Record<string, string> = {};
  for (const [i, name] of names.entries()) params[name] = decode(name, values[i] ?? "");
  return params;
}

function decode(name: string, raw: string): string {
  if (!raw.includes("%")) return raw;
  try {
    return decodeURIComponent(raw);
  } catch (cause) {
    throw new MatrixError("M_INVALID_PARAM", `path.${name}: not percent-encoded UTF-8`, { cause });
  }
}
