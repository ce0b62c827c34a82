/** Timelines and state of many rooms at once. Tables: sql/0002-rooms.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db } from "./database.ts";
import { fromRow, selectEvents, type StoredEvent } from "./events.ts";
import type { Place } from "./state-keys.ts";

/** What is rejected or soft-failed is in no timeline. */
const isShown = sql`e.rejected is null and not e.soft_failed`;

/** A part of a room's timeline, by stream positions. */
export interface Part {
  roomNid: number;
  /** Exclusive. History that was fetched later has no stream position and is left out with it. */
  after?: number | undefined;
  /** Inclusive. */
  upTo: number;
}

/**
 * The newest events of parts of rooms: their nids by room, oldest first, at most `limit` each.
 *
 * Index events_timeline serves each room.
 */
export async function listNewest(
  db: Db,
  parts: readonly Part[],
  limit: number,
): Promise<Map<number, number[]>> {
  const found = new Map<number, number[]>();
  if (parts.length === 0) return found;
  const { rows } = await sql<{ room_nid: number; nid: number }>`
    select r.nid as room_nid, e.nid
    from unnest(${parts.map((p) => p.roomNid)}::bigint[], ${parts.map((p) => p.after ?? -1)}::bigint[],
      ${parts.map((p) => p.upTo)}::bigint[]) as r(nid, after, up_to)
    cross join lateral (
      select e.nid, e.order_position, e.order_offset from events e
      where e.room_nid = r.nid and e.order_position is not null
        and e.order_position <= r.up_to and e.order_position > r.after
        and (r.after < 0 or e.position is not null) and ${isShown}
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
  parts: readonly Pick<Part, "roomNid" | "upTo">[],
): Promise<Map<number, number>> {
  if (parts.length === 0) return new Map();
  const { rows } = await sql<{ room_nid: number; snapshot: number }>`
    select r.nid as room_nid, e.snapshot_after as snapshot
    from unnest(${parts.map((p) => p.roomNid)}::bigint[], ${parts.map((p) => p.upTo)}::bigint[])
      as r(nid, up_to)
    cross join lateral (
      select e.snapshot_after from events e
      where e.room_nid = r.nid and e.order_position is not null
        and e.order_position <= r.up_to and e.snapshot_after is not null and ${isShown}
      order by e.order_position desc, e.order_offset desc limit 1
    ) e`.execute(db);
  return new Map(rows.map((row) => [row.room_nid, row.snapshot]));
}

/** The places of current state but for memberships, by room. */
export async function listPlaces(
  db: Db,
  roomNids: readonly number[],
): Promise<Map<number, Place[]>> {
  const found = new Map<number, Place[]>(roomNids.map((nid) => [nid, []]));
  if (roomNids.length === 0) return found;
  const rows = await db
    .selectFrom("current_state")
    .select(["room_nid", "type", "state_key"])
    .where(sql<boolean>`room_nid = any(${[...roomNids]}::bigint[])`)
    .execute();
  for (const row of rows) {
    found.get(row.room_nid)?.push({ type: row.type, stateKey: row.state_key });
  }
  return found;
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
