/** Events as stored. Tables: sql/0002-rooms.sql. */
import { sql } from "kysely";
import type { EventId, RoomId, UserId } from "../spec/identifiers.ts";
import type { JsonObject } from "../spec/shape.ts";
import { parseStored } from "../spec/strict-json.ts";
import type { Db } from "./database.ts";

export interface EventRow {
  nid: number;
  event_id: EventId;
  room_nid: number;
  position: number | null;
  order_position: number | null;
  order_offset: number;
  type: string;
  state_key: string | null;
  sender: UserId;
  origin_server_ts: number;
  depth: number;
  snapshot_before: number | null;
  snapshot_after: number | null;
  relates_to: EventId | null;
  rel_type: string | null;
  contains_url: boolean;
  rejected: string | null;
  soft_failed: boolean;
  redacted_by: EventId | null;
  json: string;
}

interface TransactionsTable {
  user_id: UserId;
  device_id: string;
  scope: string;
  txn_id: string;
  event_id: EventId;
  created_ts: number;
}

interface MissingEventsTable {
  event_id: EventId;
  needed_by: number;
  room_nid: number;
}

export interface EventTables {
  events: EventRow;
  transactions: TransactionsTable;
  missing_events: MissingEventsTable;
}

/** An event's place in its room's timeline; compare with {@link compareOrder}. */
export interface TimelineOrder {
  position: number;
  offset: number;
}

export function compareOrder(a: TimelineOrder, b: TimelineOrder): number {
  return a.position - b.position || a.offset - b.offset;
}

/** An event with the room and version it belongs to, as the engine and its caches hold it. */
export interface StoredEvent {
  nid: number;
  eventId: EventId;
  roomNid: number;
  roomId: RoomId;
  roomVersion: string;
  /** Undefined for an outlier and for history fetched later. */
  position: number | undefined;
  /** Undefined for an outlier. */
  order: TimelineOrder | undefined;
  type: string;
  stateKey: string | undefined;
  sender: UserId;
  originServerTs: number;
  depth: number;
  snapshotBefore: number | undefined;
  snapshotAfter: number | undefined;
  relatesTo: EventId | undefined;
  relType: string | undefined;
  rejected: string | undefined;
  softFailed: boolean;
  redactedBy: EventId | undefined;
  /** The PDU's canonical JSON, as signed. */
  json: string;
}

const columns = [
  "events.nid",
  "events.event_id",
  "events.room_nid",
  "events.position",
  "events.order_position",
  "events.order_offset",
  "events.type",
  "events.state_key",
  "events.sender",
  "events.origin_server_ts",
  "events.depth",
  "events.snapshot_before",
  "events.snapshot_after",
  "events.relates_to",
  "events.rel_type",
  "events.rejected",
  "events.soft_failed",
  "events.redacted_by",
  "events.json",
  "rooms.room_id",
  "rooms.room_version",
] as const;

type Row = Omit<EventRow, "contains_url"> & { room_id: RoomId; room_version: string };

/** A query over events with the columns of {@link StoredEvent}; read its rows with {@link fromRow}. */
export function selectEvents(db: Db) {
  return db.selectFrom("events").innerJoin("rooms", "rooms.nid", "events.room_nid").select(columns);
}

export function fromRow(row: Row): StoredEvent {
  return {
    nid: row.nid,
    eventId: row.event_id,
    roomNid: row.room_nid,
    roomId: row.room_id,
    roomVersion: row.room_version,
    position: row.position ?? undefined,
    order:
      row.order_position === null
        ? undefined
        : { position: row.order_position, offset: row.order_offset },
    type: row.type,
    stateKey: row.state_key ?? undefined,
    sender: row.sender,
    originServerTs: row.origin_server_ts,
    depth: row.depth,
    snapshotBefore: row.snapshot_before ?? undefined,
    snapshotAfter: row.snapshot_after ?? undefined,
    relatesTo: row.relates_to ?? undefined,
    relType: row.rel_type ?? undefined,
    rejected: row.rejected ?? undefined,
    softFailed: row.soft_failed,
    redactedBy: row.redacted_by ?? undefined,
    json: row.json,
  };
}

/** Events by ID, in no order; unknown ones are left out. */
export async function listByIds(db: Db, ids: readonly EventId[]): Promise<StoredEvent[]> {
  if (ids.length === 0) return [];
  const rows = await selectEvents(db)
    .where(sql<boolean>`events.event_id = any(${[...ids]})`)
    .execute();
  return rows.map(fromRow);
}

/** Events by nid, in no order; unknown ones are left out. */
export async function listByNids(db: Db, nids: readonly number[]): Promise<StoredEvent[]> {
  if (nids.length === 0) return [];
  const rows = await selectEvents(db)
    .where(sql<boolean>`events.nid = any(${[...nids]}::bigint[])`)
    .execute();
  return rows.map(fromRow);
}

export async function findById(db: Db, id: EventId): Promise<StoredEvent | undefined> {
  const row = await selectEvents(db).where("events.event_id", "=", id).executeTakeFirst();
  return row === undefined ? undefined : fromRow(row);
}

/**
 * A page of a room's timeline; index events_timeline serves it.
 *
 * Rejected and soft-failed events are left out.
 *
 * @param bounds both are exclusive; `from` is where reading starts, in the direction of reading
 */
export async function timeline(
  db: Db,
  roomNid: number,
  direction: "forward" | "backward",
  bounds: { from?: TimelineOrder; to?: TimelineOrder },
  limit: number,
): Promise<StoredEvent[]> {
  const order = direction === "forward" ? "asc" : "desc";
  const place = sql`(events.order_position, events.order_offset)`;
  let query = selectEvents(db)
    .where("events.room_nid", "=", roomNid)
    .where("events.order_position", "is not", null)
    .where("events.rejected", "is", null)
    .where("events.soft_failed", "=", false)
    .orderBy("events.order_position", order)
    .orderBy("events.order_offset", order)
    .limit(limit);
  const lower = direction === "forward" ? bounds.from : bounds.to;
  const upper = direction === "forward" ? bounds.to : bounds.from;
  if (lower !== undefined) {
    query = query.where(
      sql<boolean>`${place} > (${lower.position}::bigint, ${lower.offset}::bigint)`,
    );
  }
  if (upper !== undefined) {
    query = query.where(
      sql<boolean>`${place} < (${upper.position}::bigint, ${upper.offset}::bigint)`,
    );
  }
  return (await query.execute()).map(fromRow);
}

/** Events that relate to one, oldest first; index events_relations. */
export async function listRelations(
  db: Db,
  eventId: EventId,
  which: { relType?: string; type?: string; sender?: UserId },
  limit = 1000,
): Promise<StoredEvent[]> {
  let query = selectEvents(db)
    .where("events.relates_to", "=", eventId)
    .where("events.order_position", "is not", null)
    .where("events.rejected", "is", null)
    .where("events.soft_failed", "=", false)
    .orderBy("events.order_position")
    .orderBy("events.order_offset")
    .limit(limit);
  if (which.relType !== undefined) query = query.where("events.rel_type", "=", which.relType);
  if (which.type !== undefined) query = query.where("events.type", "=", which.type);
  if (which.sender !== undefined) query = query.where("events.sender", "=", which.sender);
  return (await query.execute()).map(fromRow);
}

/** The event that a transaction ID gave before. */
export async function findTransaction(
  db: Db,
  key: { userId: UserId; deviceId: string; scope: string; txnId: string },
): Promise<EventId | undefined> {
  const row = await db
    .selectFrom("transactions")
    .select("event_id")
    .where("user_id", "=", key.userId)
    .where("device_id", "=", key.deviceId)
    .where("scope", "=", key.scope)
    .where("txn_id", "=", key.txnId)
    .executeTakeFirst();
  return row?.event_id;
}

/** The transaction IDs under which one device sent events, by event ID. */
export async function listTransactionIds(
  db: Db,
  userId: UserId,
  deviceId: string,
  eventIds: readonly EventId[],
): Promise<Map<EventId, string>> {
  if (eventIds.length === 0) return new Map();
  const rows = await db
    .selectFrom("transactions")
    .select(["event_id", "txn_id"])
    .where(sql<boolean>`event_id = any(${[...eventIds]})`)
    .where("user_id", "=", userId)
    .where("device_id", "=", deviceId)
    .execute();
  return new Map(rows.map((row) => [row.event_id, row.txn_id]));
}

/** The content of a stored event's JSON. */
export function contentOf(event: Pick<StoredEvent, "json">): JsonObject {
  return (parseStored(event.json) as { content: JsonObject }).content;
}
