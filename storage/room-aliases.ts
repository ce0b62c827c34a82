/** Local aliases. Table: sql/0002-rooms.sql. */
import type { RoomAlias, RoomId, UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

export interface RoomAliasRow {
  alias: RoomAlias;
  room_id: RoomId;
  creator: UserId;
  created_ts: number;
}
export interface RoomAliasTables {
  room_aliases: RoomAliasRow;
}

export function find(db: Db, alias: RoomAlias): Promise<RoomAliasRow | undefined> {
  return db.selectFrom("room_aliases").selectAll().where("alias", "=", alias).executeTakeFirst();
}

export async function listOfRoom(db: Db, roomId: RoomId): Promise<RoomAlias[]> {
  const rows = await db
    .selectFrom("room_aliases")
    .select("alias")
    .where("room_id", "=", roomId)
    .orderBy("created_ts")
    .orderBy("alias")
    .execute();
  return rows.map((row) => row.alias);
}

/** @returns false where the alias is taken */
export async function insert(tx: Tx, row: RoomAliasRow): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto("room_aliases")
    .values(row)
    .onConflict((key) => key.doNothing())
    .executeTakeFirst();
  return numInsertedOrUpdatedRows === 1n;
}

/** @returns whether it was there */
export async function remove(tx: Tx, alias: RoomAlias): Promise<boolean> {
  const { numDeletedRows } = await tx
    .deleteFrom("room_aliases")
    .where("alias", "=", alias)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}
