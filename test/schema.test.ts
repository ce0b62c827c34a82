/**
 * The types of the tables say what the migrated database holds.
 *
 * What PostgreSQL says of its columns is written down as type assertions, which the compiler judges:
 * so the types may be put together in any way that TypeScript has.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openTestDatabase } from "../storage/testing.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** What `pg` gives for a type of PostgreSQL, with the settings of storage/database.ts. */
const TYPES: Record<string, string> = {
  bool: "boolean",
  bytea: "Buffer",
  date: "Date",
  float4: "number",
  float8: "number",
  int2: "number",
  int4: "number",
  int8: "number",
  json: "unknown",
  jsonb: "unknown",
  text: "string",
  timestamptz: "Date",
  varchar: "string",
  _int4: "number[]",
  // As strings; the modules turn them into numbers as they read.
  _int8: "number[]",
  _text: "string[]",
  tsvector: "string",
};

/** Tables that no query of a storage module reads. */
const WITHOUT_TYPES = ["migrations"];

interface Column {
  table: string;
  column: string;
  type: string;
  isNullable: boolean;
  hasDefault: boolean;
}

test("the types of tables and columns are those of the migrated database", async () => {
  const columns = await listColumns();
  const { source, claims } = assertions(columns);
  const output = await compile(source);
  const wrong = output
    .split("\n")
    .map((line) => /^check\.ts\((\d+),\d+\): (.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, line, message]) => `${claims.get(Number(line)) ?? `line ${line}`}: ${message}`);
  // The first claim is false, which shows that the compiler ran and knows the tables.
  assert.match(wrong.shift() ?? output, /^there are no tables: /);
  assert.deepEqual(wrong, []);
});

async function listColumns(): Promise<Column[]> {
  await using database = await openTestDatabase();
  const { rows } = await database.pool.query<Column>(
    `select c.table_name as table, c.column_name as column, c.udt_name as type,
       c.is_nullable = 'YES' as "isNullable",
       (c.column_default is not null or c.is_identity = 'YES' or c.is_generated = 'ALWAYS')
         as "hasDefault"
     from information_schema.columns c
     join information_schema.tables t using (table_schema, table_name)
     where c.table_schema = 'public' and t.table_type = 'BASE TABLE'
       and c.table_name != all ($1)
       and not exists (select 1 from pg_inherits i where i.inhrelid = c.table_name::regclass)
     order by c.table_name, c.ordinal_position`,
    [WITHOUT_TYPES],
  );
  return rows;
}

/** A program that compiles where the types are right, and what each of its lines claims. */
function assertions(columns: Column[]): { source: string; claims: Map<number, string> } {
  const lines = [
    `import type { Insertable, Selectable } from "kysely";`,
    `import type { Tables } from ${JSON.stringify(join(ROOT, "storage/database.ts"))};`,
    "declare function isTrue<T extends true>(): T;",
    "declare function isNothing<T extends never>(): T;",
    "type Is<A, B> = [A] extends [B] ? true : false;",
  ];
  const claims = new Map<number, string>();
  const claim = (what: string, line: string): void => {
    claims.set(lines.push(line), what);
  };
  const byTable = Map.groupBy(columns, (column) => column.table);
  const union = (names: Iterable<string>): string =>
    [...names].map((name) => JSON.stringify(name)).join(" | ");
  claim("there are no tables", "isNothing<keyof Tables>();");
  claim("tables with a type only", `isNothing<Exclude<keyof Tables, ${union(byTable.keys())}>>();`);
  claim("tables without a type", `isNothing<Exclude<${union(byTable.keys())}, keyof Tables>>();`);
  for (const [table, its] of byTable) {
    const row = `Tables["${table}"]`;
    const names = union(its.map((column) => column.column));
    claim(`${table}, columns with a type only`, `isNothing<Exclude<keyof ${row}, ${names}>>();`);
    claim(`${table}, columns without a type`, `isNothing<Exclude<${names}, keyof ${row}>>();`);
    for (const { column, type, isNullable, hasDefault } of its) {
      const selected = `Selectable<${row}>["${column}"]`;
      const ours = TYPES[type];
      assert.ok(ours !== undefined, `${table}.${column}: no TypeScript type for ${type}`);
      const place = `${table}.${column}`;
      claim(`${place} is ${ours}`, `isTrue<Is<NonNullable<${selected}>, ${ours}>>();`);
      claim(
        `${place} is ${isNullable ? "" : "not "}nullable`,
        `isTrue<Is<Is<null, ${selected}>, ${isNullable}>>();`,
      );
      if (hasDefault || isNullable) continue;
      claim(
        `${place} has no default`,
        `isTrue<Is<Is<undefined, Insertable<${row}>["${column}"]>, false>>();`,
      );
    }
  }
  return { source: `${lines.join("\n")}\n`, claims };
}

/** @returns what the compiler has to say */
async function compile(source: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "gomin-schema-"));
  try {
    const modules = join(ROOT, "node_modules");
    const config = {
      extends: join(ROOT, "tsconfig.json"),
      compilerOptions: {
        typeRoots: [join(modules, "@types")],
        paths: { kysely: [join(modules, "kysely")] },
      },
      include: ["check.ts"],
    };
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
    await writeFile(join(folder, "check.ts"), source);
    const tsc = join(modules, ".bin/tsc");
    return await new Promise((resolve) => {
      const args = ["-p", folder, "--pretty", "false"];
      execFile(tsc, args, { cwd: folder }, (_error, stdout, stderr) => resolve(stdout + stderr));
    });
  } finally {
    await rm(folder, { recursive: true });
  }
}
