/** Tells whether anything in the database has changed. */
import type { TestDatabase } from "../../storage/testing.ts";

/** Tables that a refused request may well write to, and why. */
const MAY_CHANGE: Readonly<Record<string, string>> = {
  notifications: "the consumer of the stream is behind with requests that were accepted",
  stream_cursors: "it notes how far it is",
  uia_sessions: "a refusal that asks for more authentication opens a session",
};

/** By table: how many rows it has, and the last transaction that wrote one of them. */
export type DatabaseState = Map<string, string>;

export async function databaseState({ pool }: TestDatabase): Promise<DatabaseState> {
  const { rows: tables } = await pool.query<{ name: string }>(
    `select table_name as name from information_schema.tables
     where table_schema = 'public' and table_type = 'BASE TABLE' and table_name != all ($1)`,
    [Object.keys(MAY_CHANGE)],
  );
  const counts = tables.map(
    ({ name }) =>
      `select '${name}' as name, count(*) || ' rows, written by ' ||
         coalesce(max(xmin::text::bigint), 0) as state from "${name}"`,
  );
  const { rows } = await pool.query<{ name: string; state: string }>(counts.join(" union all "));
  return new Map(rows.map(({ name, state }) => [name, state]));
}

/** The tables that differ, and how. */
export function differences(before: DatabaseState, after: DatabaseState): string[] {
  return [...after]
    .filter(([name, state]) => before.get(name) !== state)
    .map(([name, state]) => `${name}: ${before.get(name)}, then ${state}`);
}
