/** Databases for tests: each test file works on its own clone of one migrated template. */
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { type ConnectionOptions, type Database, openDatabase } from "./database.ts";
import { migrate } from "./migrations.ts";

export interface TestDatabase extends Database {
  /** How another process, or a whole homeserver under test, reaches the same database. */
  readonly connection: ConnectionOptions;
}

/**
 * A migrated, empty database of its own, dropped when disposed of.
 *
 * It is made on the server that GOMIN_TEST_DATABASE_URL names, which `npm test` sets.
 */
export async function openTestDatabase({ max = 5 } = {}): Promise<TestDatabase> {
  const server = process.env["GOMIN_TEST_DATABASE_URL"];
  if (server === undefined) {
    throw new Error("GOMIN_TEST_DATABASE_URL names no PostgreSQL server: run tests with npm test");
  }
  const template = await ensureTemplate(server);
  const name = `gomin_test_${randomBytes(6).toString("hex")}`;
  await administer(server, `create database ${name} template ${template}`);
  const connection = { url: withDatabase(server, name), max };
  const database = openDatabase(connection, () => undefined);
  return {
    ...database,
    connection,
    async [Symbol.asyncDispose]() {
      await database[Symbol.asyncDispose]();
      await administer(server, `drop database if exists ${name} with (force)`);
    },
  };
}

/** The template for today's migrations, made by whoever comes first. */
async function ensureTemplate(server: string): Promise<string> {
  const folder = new URL("../sql/", import.meta.url);
  const hash = createHash("sha256");
  for (const name of (await readdir(folder)).toSorted()) {
    hash.update(name).update(await readFile(new URL(name, folder)));
  }
  const template = `gomin_template_${hash.digest("hex").slice(0, 12)}`;
  const admin = openDatabase({ url: server, max: 1 }, () => undefined);
  try {
    const client = await admin.connect();
    try {
      await client.query("select pg_advisory_lock(7274)");
      const found = await client.query("select 1 from pg_database where datname = $1", [template]);
      if (found.rowCount === 0) {
        const draft = `${template}_draft`;
        await client.query(`drop database if exists ${draft}`);
        await client.query(`create database ${draft}`);
        const database = openDatabase({ url: withDatabase(server, draft) }, () => undefined);
        try {
          await migrate(database);
        } finally {
          await database[Symbol.asyncDispose]();
        }
        await client.query(`alter database ${draft} rename to ${template}`);
      }
      return template;
    } finally {
      await client.end();
    }
  } finally {
    await admin[Symbol.asyncDispose]();
  }
}

async function administer(server: string, statement: string): Promise<void> {
  const admin = openDatabase({ url: server, max: 1 }, () => undefined);
  try {
    await admin.pool.query(statement);
  } finally {
    await admin[Symbol.asyncDispose]();
  }
}

function withDatabase(server: string, name: string): string {
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}
