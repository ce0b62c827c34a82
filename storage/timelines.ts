/** Timelines of many rooms at once. Tables: sql/0002-rooms.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db } from "./database.ts";
import { fromRow, selectEvents, type StoredEvent } from "./events.ts";

/** What is rejected or soft-failed is in no timeline. */
const isShown = sql`e.rejected is null and not e.soft_failed`;

/**
 * The newest events of rooms, by room, oldest first: at most `limit` a room.
 *
 * Index events_timeline serves each room. History that was fetched later has no stream position and
 * is left out where `after` is given.
 *
 * @param upTo a stream position; later events are left out
 */
export async function listNewest(
  db: Db,
  roomNids: readonly number[],
  bounds: { after?: number; upTo: number },
  limit: number,
): Promise<Map<number, number[]>> {
  const found = new Map<number, number[]>();
  if (roomNids.length === 0) return found;
  const { after } = bounds;
  const isNews =
    after === undefined ? sql`true` : sql`e.order_position > ${after} and e.position is not null`;
  const { rows } = await sql<{ room_nid: number; nid: number }>`
    select r.nid as room_nid, e.nid
    from unnest(${[...roomNids]}::bigint[]) as r(nid)
    cross join lateral (
      select e.nid, e.order_position, e.order_offset from events e
      where e.room_nid = r.nid and e.order_position is not null
        and e.order_position <= ${bounds.upTo} and ${isNews} and ${isShown}
      order by e.order_position desc, e.order_offset desc limit ${limit}
    ) e
    order by r.nid, e.order_position, e.order_offset`.execute(db);
  for (const { room_nid: roomNid, nid } of rows) {
    const nids = found.get(roomNid);
    if (nids === undefined) found.set(roomNid, [nid]);
    else nids.push(nid);
  }
  return found;
}

/** The snapshots of room state after the last event up to a stream position, by room. */
export async function listSnapshotsAt(
  db: Db,
  roomNids: readonly number[],
  upTo: number,
): Promise<Map<number, number>> {
  if (roomNids.length === 0) return new Map();
  const { rows } = await sql<{ room_nid: number; snapshot: number }>`
    select r.nid as room_nid, e.snapshot_after as snapshot
    from unnest(${[...roomNids]}::bigint[]) as r(nid)
    cross join lateral (
      select e.snapshot_after from events e
      where e.room_nid = r.nid and e.order_position is not null
        and e.order_position <= ${upTo} and e.snapshot_after is not null and ${isShown}
      order by e.order_position desc, e.order_offset desc limit 1
    ) e`.execute(db);
  return new Map(rows.map((row) => [row.room_nid, row.snapshot]));
}

/** A user's member events in a room, newest first. Index events_members serves it. */
export async function listMemberEvents(
  db: Db,
  roomNid: number,
  userId: UserId,
  limit: number,
): Promise<StoredEvent[]> {
  const rows = await selectEvents(db)
    .where("events.room_nid", "=", roomNid)
    .where("events.type", "=", "m.room.member")
    .where("events.state_key", "=", userId)
    .where("events.order_position", "is not", null)
    .where("events.rejected", "is", null)
    .where("events.soft_failed", "=", false)
    .orderBy("events.order_position", "desc")
    .orderBy("events.order_offset", "desc")
    .limit(limit)
    .execute();
  return rows.map(fromRow);
}
