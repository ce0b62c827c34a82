/** The stream's entries. Tables: sql/0001-stream.sql. */
import type { EventId, RoomId, UserId } from "../spec/identifiers.ts";
import type { JsonObject } from "../spec/shape.ts";
import type { Db, Tx } from "./database.ts";
import type { StoredEvent } from "./events.ts";

/**
 * What happened. An entry of each kind carries what its consumers need to know without asking.
 *
 * - `event`: an event entered a room's timeline, or an invite or knock reached a user of ours; where it
 *   is a redaction that applies, `data` is `{ redacts }`
 * - `receipt`: a user read up to an event; `data` is {@link ReceiptData}
 * - `account_data`: a user set account data, tags or push rules; `data` is {@link AccountDataData}
 * - `to_device`: a message waits for a device; its content is in its table only
 * - `device_list`: a user's device or cross-signing keys changed, or a device came or went
 *   (then `data` is absent); or, with `data` `{ signed }`, the user alone signed keys of others
 * - `one_time_keys`: a device's stock of one-time or fallback keys changed
 * - `session`: tokens, devices or rights of a user changed; caches of callers forget them
 * - `profile`: a user's profile changed; `data` names the field
 * - `forget`: a user forgot a room
 */
export type EntryKind =
  | "event"
  | "receipt"
  | "account_data"
  | "to_device"
  | "device_list"
  | "one_time_keys"
  | "session"
  | "profile"
  | "forget";

export interface ReceiptData {
  type: "m.read" | "m.read.private";
  event_id: EventId;
  /** Absent: unthreaded. */
  thread_id?: string;
  ts: number;
}

export interface AccountDataData {
  type: string;
  content: JsonObject;
}

export interface NewEntry {
  kind: EntryKind;
  roomId?: RoomId;
  userId?: UserId;
  deviceId?: string;
  eventNid?: number;
  /** Stays below 64 KiB; larger values belong in the table of their aggregate. */
  data?: JsonObject;
  /** The event of an `event` entry: handed to this process's consumers, and stored in its own table. */
  subject?: StoredEvent;
}

export interface Entry extends NewEntry {
  position: number;
}

interface StreamHeadTable {
  only_row: boolean;
  epoch: number;
  position: number;
}
interface StreamTable {
  position: number;
  kind: EntryKind;
  room_id: RoomId | null;
  user_id: UserId | null;
  device_id: string | null;
  event_nid: number | null;
  data: string | null;
}
interface StreamCursorsTable {
  consumer: string;
  position: number;
}
export interface StreamTables {
  stream_head: StreamHeadTable;
  stream: StreamTable;
  stream_cursors: StreamCursorsTable;
}

/** Where the stream stands now. */
export async function head(db: Db): Promise<{ epoch: number; position: number }> {
  return db.selectFrom("stream_head").select(["epoch", "position"]).executeTakeFirstOrThrow();
}

/** The entries after one position up to another, oldest first. */
export async function range(db: Db, after: number, upTo: number, limit = 10_000): Promise<Entry[]> {
  const rows = await db
    .selectFrom("stream")
    .selectAll()
    .where("position", ">", after)
    .where("position", "<=", upTo)
    .orderBy("position")
    .limit(limit)
    .execute();
  return rows.map((row) => {
    const entry: Entry = { position: row.position, kind: row.kind };
    if (row.room_id !== null) entry.roomId = row.room_id;
    if (row.user_id !== null) entry.userId = row.user_id;
    if (row.device_id !== null) entry.deviceId = row.device_id;
    if (row.event_nid !== null) entry.eventNid = row.event_nid;
    if (row.data !== null) entry.data = JSON.parse(row.data) as JsonObject;
    return entry;
  });
}

/** The position up to which a consumer has done its work; undefined before its first. */
export async function findCursor(db: Db, consumer: string): Promise<number | undefined> {
  const row = await db
    .selectFrom("stream_cursors")
    .select("position")
    .where("consumer", "=", consumer)
    .executeTakeFirst();
  return row?.position;
}

/**
 * Moves a consumer's cursor forward, in the transaction that holds the consumer's effect. Where another
 * process is further, it stays.
 */
export async function putCursor(tx: Tx, consumer: string, position: number): Promise<void> {
  await tx
    .insertInto("stream_cursors")
    .values({ consumer, position })
    .onConflict((key) =>
      key.column("consumer").doUpdateSet((row) => ({
        position: row.fn("greatest", ["stream_cursors.position", "excluded.position"]),
      })),
    )
    .execute();
}
