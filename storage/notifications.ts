/** What users were notified about, and how much of it is unread. Table: sql/0009-push.sql. */
import { sql } from "kysely";
import type { RoomId, UserId } from "../spec/identifiers.ts";
import { parseStored } from "../spec/strict-json.ts";
import type { Db, Tx } from "./database.ts";

export interface NotificationRow {
  user_id: UserId;
  position: number;
  room_nid: number;
  thread_id: string;
  highlight: boolean;
  is_read: boolean;
  actions: string;
  ts: number;
}
export interface NotificationTables {
  notifications: NotificationRow;
}

/** An event that notified some users, with the same actions. */
export interface NewNotification {
  position: number;
  roomNid: number;
  threadId: string;
  isHighlight: boolean;
  actions: readonly unknown[];
  ts: number;
  /** Who was notified; true for those who have read it already. */
  users: ReadonlyMap<UserId, boolean>;
}

/** A user has read a room, or one of its threads, up to a position. */
export interface Reading {
  userId: UserId;
  roomNid: number;
  /** Undefined: whatever thread it is in. */
  threadId: string | undefined;
  upTo: number;
}

/** A user of ours who is joined to a room. */
export interface LocalMember {
  user_id: UserId;
  event_nid: number;
  since: number;
}

/** The local users that are joined to a room, and how many others are. */
export async function findAudience(
  db: Db,
  roomNid: number,
): Promise<{ members: LocalMember[]; remote: number }> {
  const members = await db
    .selectFrom("memberships")
    .select(["user_id", "event_nid", "since"])
    .where("room_nid", "=", roomNid)
    .where("is_local", "=", true)
    .where("membership", "=", "join")
    .execute();
  return { members, remote: await countRemote(db, roomNid) };
}

/** How many users of other servers are joined to a room. */
export async function countRemote(db: Db, roomNid: number): Promise<number> {
  const { count } = await db
    .selectFrom("memberships")
    .select(sql<number>`count(*)`.as("count"))
    .where("room_nid", "=", roomNid)
    .where("is_local", "=", false)
    .where("membership", "=", "join")
    .executeTakeFirstOrThrow();
  return count;
}

/** How far a consumer has come, for none to go further until the transaction ends. */
export async function lockCursor(tx: Tx, consumer: string): Promise<number> {
  const row = await tx
    .selectFrom("stream_cursors")
    .select("position")
    .where("consumer", "=", consumer)
    .forUpdate()
    .executeTakeFirst();
  return row?.position ?? 0;
}

/** Most rows of one statement. */
const CHUNK = 20_000;

/** Adds notifications; those that are there already stay as they are. */
export async function add(tx: Tx, notifications: readonly NewNotification[]): Promise<void> {
  let users: UserId[] = [];
  let read: boolean[] = [];
  let indexes: number[] = [];
  const flush = async (): Promise<void> => {
    if (users.length === 0) return;
    await sql`
      insert into notifications
        (user_id, position, room_nid, thread_id, highlight, is_read, actions, ts)
      select u.user_id, n.position, n.room_nid, n.thread_id, n.highlight, u.is_read, n.actions, n.ts
      from unnest(${users}::text[], ${read}::boolean[], ${indexes}::int8[]) as u(user_id, is_read, i)
      join unnest(
        ${notifications.map((_, i) => i)}::int8[],
        ${notifications.map((n) => n.position)}::int8[],
        ${notifications.map((n) => n.roomNid)}::int8[],
        ${notifications.map((n) => n.threadId)}::text[],
        ${notifications.map((n) => n.isHighlight)}::boolean[],
        ${notifications.map((n) => JSON.stringify(n.actions))}::text[],
        ${notifications.map((n) => n.ts)}::int8[]
      ) as n(i, position, room_nid, thread_id, highlight, actions, ts) on n.i = u.i
      on conflict do nothing`.execute(tx);
    users = [];
    read = [];
    indexes = [];
  };
  for (const [i, notification] of notifications.entries()) {
    for (const [userId, isRead] of notification.users) {
      users.push(userId);
      read.push(isRead);
      indexes.push(i);
      if (users.length === CHUNK) await flush();
    }
  }
  await flush();
}

/** Marks what was read. Index notifications_unread. */
export async function markRead(tx: Tx, readings: readonly Reading[]): Promise<void> {
  if (readings.length === 0) return;
  await sql`
    update notifications n set is_read = true
    from unnest(
      ${readings.map((r) => r.userId)}::text[],
      ${readings.map((r) => r.roomNid)}::int8[],
      ${readings.map((r) => r.threadId ?? null)}::text[],
      ${readings.map((r) => r.upTo)}::int8[]
    ) as r(user_id, room_nid, thread_id, up_to)
    where not n.is_read and n.user_id = r.user_id and n.room_nid = r.room_nid
      and n.position <= r.up_to and (r.thread_id is null or n.thread_id = r.thread_id)`.execute(tx);
}

/** Removes the notifications about an event from those of some users. */
export async function removeAbout(
  tx: Tx,
  position: number,
  userIds: readonly UserId[],
): Promise<void> {
  await tx
    .deleteFrom("notifications")
    .where(sql<boolean>`user_id = any(${[...userIds]}::text[])`)
    .where("position", "=", position)
    .execute();
}

/** Unread notifications in a room and thread. */
export interface UnreadRow {
  room_id: RoomId;
  thread_id: string;
  notifications: number;
  highlights: number;
  newest: number;
}

/**
 * Counts what a user has not read in some rooms. Index notifications_unread.
 *
 * @returns with the position up to which a consumer of the stream had come by then
 */
export async function countUnread(
  db: Db,
  userId: UserId,
  roomIds: readonly RoomId[],
  consumer: string,
): Promise<{ rows: UnreadRow[]; upTo: number }> {
  // One statement, so one snapshot of the database; the row without a room carries the position.
  const { rows } = await sql<UnreadRow | (Omit<UnreadRow, "room_id"> & { room_id: null })>`
    select r.room_id, n.thread_id, count(*) as notifications,
      count(*) filter (where n.highlight) as highlights, max(n.position) as newest
    from notifications n join rooms r on r.nid = n.room_nid
    where n.user_id = ${userId} and not n.is_read and r.room_id = any(${[...roomIds]}::text[])
    group by r.room_id, n.thread_id
    union all
    select null, '', 0, 0,
      coalesce((select position from stream_cursors where consumer = ${consumer}), 0)`.execute(db);
  return {
    rows: rows.filter((row): row is UnreadRow => row.room_id !== null),
    upTo: rows.find((row) => row.room_id === null)?.newest ?? 0,
  };
}

/** A notification with the event that it is about. */
export interface ListedNotification {
  position: number;
  eventNid: number;
  isRead: boolean;
  actions: unknown[];
  ts: number;
}

/** A user's notifications, newest first. */
export async function list(
  db: Db,
  userId: UserId,
  which: { before: number | undefined; isHighlight: boolean; limit: number },
): Promise<ListedNotification[]> {
  let query = db
    .selectFrom("notifications as n")
    .innerJoin("events as e", "e.position", "n.position")
    .select(["n.position", "e.nid", "n.is_read", "n.actions", "n.ts"])
    .where("n.user_id", "=", userId)
    .orderBy("n.position", "desc")
    .limit(which.limit);
  if (which.before !== undefined) query = query.where("n.position", "<", which.before);
  if (which.isHighlight) query = query.where("n.highlight", "=", true);
  const rows = await query.execute();
  return rows.map((row) => ({
    position: row.position,
    eventNid: row.nid,
    isRead: row.is_read,
    actions: parseStored(row.actions) as unknown[],
    ts: row.ts,
  }));
}

/** Removes what was read and is older than a time, some rows at a time. Index notifications_time. */
export async function removeReadBefore(tx: Tx, ts: number, limit: number): Promise<number> {
  const { numAffectedRows = 0n } = await sql`
    delete from notifications where ctid = any(array(
      select ctid from notifications where is_read and ts < ${ts} limit ${limit}))`.execute(tx);
  return Number(numAffectedRows);
}
