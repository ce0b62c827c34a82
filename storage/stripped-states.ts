/** Stripped state that came from another server with an invite or a knock. Table: sql/0006-sync.sql. */
import { sql } from "kysely";
import type { Db, Tx } from "./database.ts";

export interface StrippedStateTables {
  stripped_states: { event_nid: number; json: string };
}

/** Keeps what came with a member event, whatever it is. */
export async function put(tx: Tx, eventNid: number, value: unknown): Promise<void> {
  const json = JSON.stringify(value) ?? "null";
  await tx
    .insertInto("stripped_states")
    .values({ event_nid: eventNid, json })
    .onConflict((key) => key.column("event_nid").doUpdateSet({ json }))
    .execute();
}

/** What came with member events, by their nids. */
export async function list(db: Db, eventNids: readonly number[]): Promise<Map<number, unknown>> {
  if (eventNids.length === 0) return new Map();
  const rows = await db
    .selectFrom("stripped_states")
    .selectAll()
    .where(sql<boolean>`event_nid = any(${[...eventNids]}::bigint[])`)
    .execute();
  return new Map(rows.map((row) => [row.event_nid, JSON.parse(row.json) as unknown]));
}
