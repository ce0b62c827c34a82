/**
 * Writes the tables of facts: `npm run spec-facts [-- <folder of the specification>]`.
 *
 * The specification is not part of this repository; the facts that the tests need are.
 */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type ApiName, type Facts, tableUrl } from "./facts.ts";
import { readSpec } from "./read-spec.ts";

export const APIS: readonly ApiName[] = ["client-server", "server-server"];

/** Where the specification lies beside this repository. */
export const DEFAULT_ROOT = fileURLToPath(new URL("../../../shared/matrix-spec", import.meta.url));

/** The table as it is committed: an operation a line, so that its changes read well. */
export function render(facts: Facts): string {
  const lines = (items: string[]): string => items.map((item) => `    ${item}`).join(",\n");
  const operations = lines(facts.operations.map((operation) => JSON.stringify(operation)));
  const definitions = lines(
    Object.entries(facts.definitions).map(
      ([name, schema]) => `${JSON.stringify(name)}: ${JSON.stringify(schema)}`,
    ),
  );
  return `{\n  "operations": [\n${operations}\n  ],\n  "definitions": {\n${definitions}\n  }\n}\n`;
}

if (import.meta.main) {
  const root = process.argv[2] ?? DEFAULT_ROOT;
  if (!existsSync(root)) {
    console.error(`There is no specification at ${root}. Name its folder as the argument.`);
    process.exit(1);
  }
  for (const api of APIS) {
    const facts = readSpec(root, api);
    const text = render(facts);
    await writeFile(tableUrl(api), text);
    console.log(`${api}: ${facts.operations.length} operations, ${text.length} bytes`);
  }
}
