/** Relations between events. Table: events, in sql/0002-rooms.sql; index events_relations. */
import { sql } from "kysely";
import type { EventId, UserId } from "../spec/identifiers.ts";
import type { Db } from "./database.ts";
import { fromRow, selectEvents, type StoredEvent, type TimelineOrder } from "./events.ts";

/**
 * The events that relate to any of some events, oldest first; index events_relations.
 *
 * @param which of more than `limit` for one event and relation type the newest, so that many of one
 *   sort hide none of another
 */
export async function listChildren(
  db: Db,
  parents: readonly EventId[],
  which: { relTypes: readonly string[]; limit: number },
): Promise<StoredEvent[]> {
  if (parents.length === 0) return [];
  const rows = await selectEvents(db)
    .where(
      sql<boolean>`events.nid in (
        select child.nid from unnest(${[...parents]}::text[]) parent
          cross join unnest(${[...which.relTypes]}::text[]) sort
          cross join lateral (
            select e.nid from events e where e.relates_to = parent and e.rel_type = sort
              and e.order_position is not null and e.rejected is null and not e.soft_failed
            order by e.order_position desc, e.order_offset desc limit ${which.limit}) child)`,
    )
    .orderBy("events.order_position")
    .orderBy("events.order_offset")
    .execute();
  return rows.map(fromRow);
}

/** The IDs of the events of a room that relate to any of some events; of more than `limit` the newest. */
export async function listChildIds(
  db: Db,
  roomNid: number,
  parents: readonly EventId[],
  limit: number,
): Promise<EventId[]> {
  if (parents.length === 0) return [];
  const rows = await db
    .selectFrom("events")
    .select("event_id")
    .where(sql<boolean>`relates_to = any(${[...parents]})`)
    .where("room_nid", "=", roomNid)
    .where("order_position", "is not", null)
    .orderBy("order_position", "desc")
    .orderBy("order_offset", "desc")
    .limit(limit)
    .execute();
  return rows.map((row) => row.event_id);
}

/**
 * A page of the events of a room that relate to any of some events, in the direction of reading.
 *
 * @param which both bounds are exclusive; `from` is where reading starts
 */
export async function pageOfChildren(
  db: Db,
  roomNid: number,
  parents: readonly EventId[],
  which: {
    direction: "forward" | "backward";
    from?: TimelineOrder | undefined;
    to?: TimelineOrder | undefined;
    relType?: string | undefined;
    type?: string | undefined;
    limit: number;
  },
): Promise<StoredEvent[]> {
  const isForward = which.direction === "forward";
  const place = sql`(events.order_position, events.order_offset)`;
  const lower = isForward ? which.from : which.to;
  const upper = isForward ? which.to : which.from;
  const { relType, type } = which;
  const rows = await selectEvents(db)
    .where(sql<boolean>`events.relates_to = any(${[...parents]})`)
    .where("events.room_nid", "=", roomNid)
    .where("events.order_position", "is not", null)
    .where("events.rejected", "is", null)
    .where("events.soft_failed", "=", false)
    .where("events.redacted_by", "is", null)
    .$if(relType !== undefined, (query) => query.where("events.rel_type", "=", relType ?? ""))
    .$if(type !== undefined, (query) => query.where("events.type", "=", type ?? ""))
    .$if(lower !== undefined, (query) =>
      query.where(sql<boolean>`${place} > (${lower?.position}::bigint, ${lower?.offset}::bigint)`),
    )
    .$if(upper !== undefined, (query) =>
      query.where(sql<boolean>`${place} < (${upper?.position}::bigint, ${upper?.offset}::bigint)`),
    )
    .orderBy("events.order_position", isForward ? "asc" : "desc")
    .orderBy("events.order_offset", isForward ? "asc" : "desc")
    .limit(which.limit)
    .execute();
  return rows.map(fromRow);
}

/** Who relates to some events in their own room, and how. */
export async function listKinds(
  db: Db,
  roomNid: number,
  parents: readonly EventId[],
): Promise<{ relatesTo: EventId; sender: UserId; relType: string }[]> {
  if (parents.length === 0) return [];
  const { rows } = await sql<{ relatesTo: EventId; sender: UserId; relType: string }>`
    select distinct relates_to as "relatesTo", sender, rel_type as "relType" from events
    where relates_to = any(${[...parents]}) and room_nid = ${roomNid} and rel_type is not null
      and redacted_by is null and rejected is null and not soft_failed
      and order_position is not null`.execute(db);
  return rows;
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
