/** Brings the schema up to date: sql/*.sql in order of number, each once, each in one transaction. */
import { readdir, readFile } from "node:fs/promises";
import type { Database } from "./database.ts";

const FOLDER = new URL("../sql/", import.meta.url);
/** Held while migrating, so that processes which start together do it one after the other. */
const LOCK = 0x676f6d69;

/**
 * Applies what is not yet applied.
 *
 * @returns the names of the files it applied
 * @throws Error when the database holds a migration that this program does not know
 */
export async function migrate(database: Database): Promise<string[]> {
  const names = (await readdir(FOLDER)).filter((name) => /^\d{4}-.*\.sql$/.test(name)).toSorted();
  const client = await database.pool.connect();
  try {
    await client.query("set lock_timeout = 0");
    await client.query("set statement_timeout = 0");
    await client.query("select pg_advisory_lock($1)", [LOCK]);
    await client.query(
      "create table if not exists migrations (name text primary key, applied_at timestamptz not null default now())",
    );
    const { rows } = await client.query<{ name: string }>("select name from migrations");
    const applied = new Set(rows.map((row) => row.name));
    const unknown = [...applied].filter((name) => !names.includes(name));
    if (unknown.length > 0) {
      throw new Error(`the database is newer than this program: it has ${unknown.join(", ")}`);
    }
    const missing = names.filter((name) => !applied.has(name));
    for (const name of missing) {
      const text = await readFile(new URL(name, FOLDER), "utf8");
      await client.query("begin");
      try {
        await client.query(text);
        await client.query("insert into migrations (name) values ($1)", [name]);
        await client.query("commit");
      } catch (error) {
        await client.query("rollback");
        throw new Error(`migration ${name} failed`, { cause: error });
      }
    }
    return missing;
  } finally {
    // The connection carries changed settings and the lock: it is closed, not returned.
    client.release(true);
  }
}
