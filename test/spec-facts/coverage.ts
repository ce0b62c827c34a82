/**
 * Writes docs/coverage.md, which says what of the specification is served:
 * `node test/spec-facts/coverage.ts`, with GOMIN_TEST_DATABASE_URL naming a PostgreSQL server.
 */
import { writeFile } from "node:fs/promises";
import { RouteTree } from "../../server/route-tree.ts";
import type { Route } from "../../server/route.ts";
import { startServer } from "../fixtures/homeserver.ts";
import { type ApiName, loadFacts, type Operation } from "./facts.ts";

export const COVERAGE_URL = new URL("../../docs/coverage.md", import.meta.url);

const TITLES: Record<ApiName, string> = {
  "client-server": "Client-server API",
  "server-server": "Server-server API",
};

/** @param routes what the server answers */
export function renderCoverage(routes: readonly Route[]): string {
  const isServed = servedBy(routes);
  const parts = Object.entries(TITLES).map(([api, title]) => {
    // The keys of TITLES are its type's.
    const { operations } = loadFacts(api as ApiName);
    const served = operations.filter(isServed).length;
    const chapters = [...Map.groupBy(operations, (operation) => operation.chapter)]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([chapter, its]) => renderChapter(chapter, its, isServed));
    const count = `Served: ${served} of ${operations.length} operations.`;
    return [`## ${title}`, count, ...chapters].join("\n\n");
  });
  return [
    "# What is served",
    "Every operation of the Matrix specification v1.19. Written by `node test/spec-facts/coverage.ts`;\n" +
      "a test holds it true. What is not served answers `M_UNRECOGNIZED`.",
    ...parts,
    "",
  ].join("\n\n");
}

/** Operations with the method and path of another: a route there is the other's. */
const SHARING_A_ROUTE = ["inviteBy3PID", "peekEvents"];

/** Tells whether an operation has a route. */
export function servedBy(routes: readonly Route[]): (operation: Operation) => boolean {
  const tree = new RouteTree(routes);
  return (operation) => {
    if (SHARING_A_ROUTE.includes(operation.id)) return false;
    const match = tree.find(operation.method, fillPath(operation));
    return match?.route !== undefined;
  };
}

/** An operation's path with values that it may have. */
function fillPath({ path, params = [] }: Operation): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const param = params.find((p) => p.name === name);
    const value = param?.schema.enum?.[0] ?? param?.example ?? "x";
    return encodeURIComponent(typeof value === "string" ? value : JSON.stringify(value));
  });
}

function renderChapter(
  chapter: string,
  operations: Operation[],
  isServed: (operation: Operation) => boolean,
): string {
  const served = operations.filter(isServed).length;
  const rows = operations.map((operation) => {
    const { method, path, id, deprecated } = operation;
    const note = deprecated === true ? `${id} (deprecated)` : id;
    return `| ${isServed(operation) ? "yes" : "no"} | ${method} | \`${path}\` | ${note} |`;
  });
  return [
    `### ${chapter}: ${served} of ${operations.length}\n`,
    "| served | method | path | operation |",
    "| --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}

if (import.meta.main) {
  await using server = await startServer();
  await writeFile(COVERAGE_URL, renderCoverage(server.routes));
}
