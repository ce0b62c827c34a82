/** Receipts: how far users have read. Table: sql/0008-receipts.sql. */
import { sql } from "kysely";
import type { EventId, RoomId, UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

export type ReceiptType = "m.read" | "m.read.private";

export interface ReceiptRow {
  room_nid: number;
  user_id: UserId;
  type: ReceiptType;
  thread_id: string; // "" where it is unthreaded
  event_id: EventId;
  order_position: number;
  order_offset: number;
  ts: number;
  position: number;
}
export interface ReceiptTables {
  receipts: ReceiptRow;
}

export type ReceiptKey = Pick<ReceiptRow, "room_nid" | "user_id" | "type" | "thread_id">;

/**
 * Moves a receipt forward.
 *
 * @returns false where it stands at that event or further already, and was left there
 */
export async function advance(tx: Tx, row: ReceiptRow): Promise<boolean> {
  const { event_id, order_position, order_offset, ts, position } = row;
  const moved = await tx
    .insertInto("receipts")
    .values(row)
    .onConflict((key) =>
      key
        .columns(["room_nid", "user_id", "type", "thread_id"])
        .doUpdateSet({ event_id, order_position, order_offset, ts, position })
        .where(
          sql<boolean>`(receipts.order_position, receipts.order_offset)
            < (excluded.order_position, excluded.order_offset)`,
        ),
    )
    .executeTakeFirst();
  return moved.numInsertedOrUpdatedRows === 1n;
}

export async function find(db: Db, key: ReceiptKey): Promise<ReceiptRow | undefined> {
  return db
    .selectFrom("receipts")
    .selectAll()
    .where("room_nid", "=", key.room_nid)
    .where("user_id", "=", key.user_id)
    .where("type", "=", key.type)
    .where("thread_id", "=", key.thread_id)
    .executeTakeFirst();
}

/**
 * The receipts in rooms, in the order in which they were last moved; of private ones the reader's own.
 *
 * @param changed only those that moved in the stream's `(after, upTo]`; index receipts_changed
 */
export async function list(
  db: Db,
  roomIds: readonly RoomId[],
  reader: UserId,
  changed?: { after: number; upTo: number },
): Promise<(ReceiptRow & { room_id: RoomId })[]> {
  if (roomIds.length === 0) return [];
  let query = db
    .selectFrom("receipts")
    .innerJoin("rooms", "rooms.nid", "receipts.room_nid")
    .selectAll("receipts")
    .select("rooms.room_id")
    .where(sql<boolean>`rooms.room_id = any(${[...roomIds]})`)
    .where((where) =>
      where.or([where("receipts.type", "=", "m.read"), where("receipts.user_id", "=", reader)]),
    )
    .orderBy("receipts.position");
  if (changed !== undefined) {
    query = query
      .where("receipts.position", ">", changed.after)
      .where("receipts.position", "<=", changed.upTo);
  }
  return query.execute();
}
