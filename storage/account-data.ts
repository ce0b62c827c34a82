/** Account data: one JSON object a user, room and type. Table: sql/0003-accounts.sql. */
import { sql } from "kysely";
import type { RoomId, UserId } from "../spec/identifiers.ts";
import type { JsonObject } from "../spec/shape.ts";
import { parseStored } from "../spec/strict-json.ts";
import type { Db, Tx } from "./database.ts";

export interface AccountData {
  user_id: UserId;
  room_id: RoomId | ""; // "" where it belongs to no room
  type: string;
  content: JsonObject;
  position: number; // in the stream, when it last changed
}
type AccountDataTable = Omit<AccountData, "content"> & { content: string };
export interface AccountDataTables {
  account_data: AccountDataTable;
}

/** Sets one value, replacing what its user, room and type held. */
export async function put(tx: Tx, row: AccountData): Promise<void> {
  const { position } = row;
  const content = JSON.stringify(row.content);
  await tx
    .insertInto("account_data")
    .values({ ...row, content })
    .onConflict((key) =>
      key.columns(["user_id", "room_id", "type"]).doUpdateSet({ content, position }),
    )
    .execute();
}

/**
 * Sets one value that has not changed since it was read.
 *
 * @param before its position then; undefined where there was none
 * @returns false where it has changed
 */
export async function replace(
  tx: Tx,
  row: AccountData,
  before: number | undefined,
): Promise<boolean> {
  const content = JSON.stringify(row.content);
  if (before === undefined) {
    const added = await tx
      .insertInto("account_data")
      .values({ ...row, content })
      .onConflict((key) => key.columns(["user_id", "room_id", "type"]).doNothing())
      .executeTakeFirst();
    return added.numInsertedOrUpdatedRows === 1n;
  }
  const updated = await tx
    .updateTable("account_data")
    .set({ content, position: row.position })
    .where("user_id", "=", row.user_id)
    .where("room_id", "=", row.room_id)
    .where("type", "=", row.type)
    .where("position", "=", before)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

/** How many values a user has. */
export async function count(db: Db, userId: UserId): Promise<number> {
  const { count } = await db
    .selectFrom("account_data")
    .select(sql<number>`count(*)`.as("count"))
    .where("user_id", "=", userId)
    .executeTakeFirstOrThrow();
  return count;
}

export async function removeOf(tx: Tx, userId: UserId): Promise<void> {
  await tx.deleteFrom("account_data").where("user_id", "=", userId).execute();
}

export async function find(
  db: Db,
  userId: UserId,
  roomId: RoomId | "",
  type: string,
): Promise<AccountData | undefined> {
  const row = await db
    .selectFrom("account_data")
    .selectAll()
    .where("user_id", "=", userId)
    .where("room_id", "=", roomId)
    .where("type", "=", type)
    .executeTakeFirst();
  return row && read(row);
}

/** All that a user has, global and of rooms. */
export async function list(db: Db, userId: UserId): Promise<AccountData[]> {
  const rows = await db
    .selectFrom("account_data")
    .selectAll()
    .where("user_id", "=", userId)
    .orderBy("room_id")
    .orderBy("type")
    .execute();
  return rows.map(read);
}

/** What changed for a user after a stream position, up to another, oldest first. */
export async function after(
  db: Db,
  userId: UserId,
  position: number,
  upTo = Number.MAX_SAFE_INTEGER,
): Promise<AccountData[]> {
  const rows = await db
    .selectFrom("account_data")
    .selectAll()
    .where("user_id", "=", userId)
    .where("position", ">", position)
    .where("position", "<=", upTo)
    .orderBy("position")
    .execute();
  return rows.map(read);
}

function read(row: AccountDataTable): AccountData {
  return { ...row, content: parseStored(row.content) as JsonObject };
}
