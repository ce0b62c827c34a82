/** Filters that users uploaded. Table: sql/0003-accounts.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { JsonObject } from "../spec/shape.ts";
import { parseStored } from "../spec/strict-json.ts";
import type { Db, Tx } from "./database.ts";

interface FiltersTable {
  user_id: UserId;
  filter_id: string;
  definition: string;
}
export interface FilterTables {
  filters: FiltersTable;
}

/** Adds a filter; nothing changes where it is there. */
export async function add(
  tx: Tx,
  row: Omit<FiltersTable, "definition"> & { definition: JsonObject },
): Promise<void> {
  await tx
    .insertInto("filters")
    .values({ ...row, definition: JSON.stringify(row.definition) })
    .onConflict((key) => key.columns(["user_id", "filter_id"]).doNothing())
    .execute();
}

export async function count(db: Db, userId: UserId): Promise<number> {
  const { count } = await db
    .selectFrom("filters")
    .select(sql<number>`count(*)`.as("count"))
    .where("user_id", "=", userId)
    .executeTakeFirstOrThrow();
  return count;
}

export async function removeOf(tx: Tx, userId: UserId): Promise<void> {
  await tx.deleteFrom("filters").where("user_id", "=", userId).execute();
}

/** A filter's definition, as it was uploaded. */
export async function find(
  db: Db,
  userId: UserId,
  filterId: string,
): Promise<JsonObject | undefined> {
  const row = await db
    .selectFrom("filters")
    .select("definition")
    .where("user_id", "=", userId)
    .where("filter_id", "=", filterId)
    .executeTakeFirst();
  return row && (parseStored(row.definition) as JsonObject);
}
