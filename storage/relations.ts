/** Relations between events. Table: events, in sql/0002-rooms.sql; index events_relations. */
import { sql } from "kysely";
import type { EventId, UserId } from "../spec/identifiers.ts";
import type { Db } from "./database.ts";
import { fromRow, selectEvents, type StoredEvent } from "./events.ts";

/** The events that relate to any of some events, oldest first. Of more than `limit` the newest. */
export async function listChildren(
  db: Db,
  parents: readonly EventId[],
  limit: number,
): Promise<StoredEvent[]> {
  if (parents.length === 0) return [];
  const rows = await selectEvents(db)
    .where(sql<boolean>`events.relates_to = any(${[...parents]})`)
    .where("events.order_position", "is not", null)
    .where("events.rejected", "is", null)
    .where("events.soft_failed", "=", false)
    .orderBy("events.order_position", "desc")
    .orderBy("events.order_offset", "desc")
    .limit(limit)
    .execute();
  return rows.map(fromRow).reverse();
}

/** How many replies a thread has. */
export async function countReplies(db: Db, root: EventId): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from events
    where relates_to = ${root} and rel_type = 'm.thread' and redacted_by is null
      and rejected is null and not soft_failed and order_position is not null`.execute(db);
  return rows[0]?.count ?? 0;
}

export async function hasReplied(db: Db, root: EventId, userId: UserId): Promise<boolean> {
  const { rows } = await sql`
    select 1 from events where relates_to = ${root} and rel_type = 'm.thread'
      and sender = ${userId} and redacted_by is null limit 1`.execute(db);
  return rows.length > 0;
}

/**
 * The roots of a room's threads by their latest reply, newest first; index events_threads.
 *
 * @param which `before` is the stream position of a latest reply
 */
export async function listThreadRoots(
  db: Db,
  roomNid: number,
  which: { before?: number; participant?: UserId; limit: number },
): Promise<{ eventId: EventId; latest: number }[]> {
  const participates =
    which.participant === undefined
      ? sql`true`
      : sql`bool_or(e.sender = ${which.participant}) or exists (select 1 from events root
          where root.event_id = e.relates_to and root.sender = ${which.participant})`;
  const { rows } = await sql<{ event_id: EventId; latest: number }>`
    select e.relates_to as event_id, max(e.order_position) as latest from events e
    where e.room_nid = ${roomNid} and e.rel_type = 'm.thread' and e.redacted_by is null
      and e.rejected is null and not e.soft_failed and e.order_position is not null
    group by e.relates_to
    having (${participates}) and max(e.order_position) < ${which.before ?? Number.MAX_SAFE_INTEGER}
    order by latest desc limit ${which.limit}`.execute(db);
  return rows.map((row) => ({ eventId: row.event_id, latest: row.latest }));
}
