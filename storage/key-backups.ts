/** Server-side backups of room keys. Tables: sql/0004-keys.sql. */
import { sql } from "kysely";
import type { RoomId, UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

export interface KeyBackupRow {
  user_id: UserId;
  version: number;
  algorithm: string;
  auth_data: string; // JSON
  etag: number;
  key_count: number;
  is_deleted: boolean;
}
export interface BackedUpKeyRow {
  user_id: UserId;
  version: number;
  room_id: RoomId;
  session_id: string;
  first_message_index: number;
  forwarded_count: number;
  is_verified: boolean;
  session_data: string; // JSON
}
export interface KeyBackupTables {
  key_backups: KeyBackupRow;
  key_backup_keys: BackedUpKeyRow;
}

/** All keys of a backup, those of a room, or one. */
export interface KeyScope {
  roomId?: RoomId | undefined;
  sessionId?: string | undefined;
}

/**
 * Adds a backup, with a version greater than all before it.
 *
 * @returns undefined where another was added at the same moment
 */
export async function create(
  tx: Tx,
  backup: { userId: UserId; algorithm: string; authData: string },
): Promise<number | undefined> {
  const { userId, algorithm, authData } = backup;
  const { rows } = await sql<{ version: number }>`
    insert into key_backups (user_id, version, algorithm, auth_data)
    select ${userId}, coalesce(max(version), 0) + 1, ${algorithm}, ${authData}
    from key_backups where user_id = ${userId}
    on conflict do nothing returning version`.execute(tx);
  return rows[0]?.version;
}

/** A backup, deleted or not. */
export async function find(
  db: Db,
  userId: UserId,
  version: number,
): Promise<KeyBackupRow | undefined> {
  return db
    .selectFrom("key_backups")
    .selectAll()
    .where("user_id", "=", userId)
    .where("version", "=", version)
    .executeTakeFirst();
}

/** The newest backup that is not deleted. */
export async function findCurrent(db: Db, userId: UserId): Promise<KeyBackupRow | undefined> {
  return db
    .selectFrom("key_backups")
    .selectAll()
    .where("user_id", "=", userId)
    .where("is_deleted", "=", false)
    .orderBy("version", "desc")
    .limit(1)
    .executeTakeFirst();
}

/** How many backups of a user are not deleted. */
export async function count(db: Db, userId: UserId): Promise<number> {
  const { count } = await db
    .selectFrom("key_backups")
    .select(sql<number>`count(*)`.as("count"))
    .where("user_id", "=", userId)
    .where("is_deleted", "=", false)
    .executeTakeFirstOrThrow();
  return count;
}

/**
 * Finds a backup and lets nobody else change it or its keys before the transaction ends.
 *
 * @returns undefined for one that is deleted, too
 */
export async function lock(
  tx: Tx,
  userId: UserId,
  version: number,
): Promise<KeyBackupRow | undefined> {
  return tx
    .selectFrom("key_backups")
    .selectAll()
    .where("user_id", "=", userId)
    .where("version", "=", version)
    .where("is_deleted", "=", false)
    .forUpdate()
    .executeTakeFirst();
}

export async function putAuthData(
  tx: Tx,
  userId: UserId,
  version: number,
  authData: string,
): Promise<void> {
  await tx
    .updateTable("key_backups")
    .set({ auth_data: authData })
    .where("user_id", "=", userId)
    .where("version", "=", version)
    .execute();
}

/** Deletes a backup with its keys; that there was one stays known. */
export async function remove(tx: Tx, userId: UserId, version: number): Promise<void> {
  await removeKeys(tx, userId, version, {});
  await tx
    .updateTable("key_backups")
    .set({ is_deleted: true, auth_data: "{}", key_count: 0 })
    .where("user_id", "=", userId)
    .where("version", "=", version)
    .execute();
}

/**
 * Puts keys into a backup; of two keys for one session the better one stays:
 * https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
 *
 * @returns how many sessions were added, and how many changed
 */
export async function putKeys(
  tx: Tx,
  userId: UserId,
  version: number,
  keys: readonly Omit<BackedUpKeyRow, "user_id" | "version">[],
): Promise<{ added: number; replaced: number }> {
  if (keys.length === 0) return { added: 0, replaced: 0 };
  const { rows } = await sql<{ is_new: boolean }>`
    insert into key_backup_keys as old (user_id, version, room_id, session_id, first_message_index,
      forwarded_count, is_verified, session_data)
    select ${userId}, ${version}::int8, * from unnest(
      ${keys.map((k) => k.room_id)}::text[], ${keys.map((k) => k.session_id)}::text[],
      ${keys.map((k) => k.first_message_index)}::int8[],
      ${keys.map((k) => k.forwarded_count)}::int8[], ${keys.map((k) => k.is_verified)}::bool[],
      ${keys.map((k) => k.session_data)}::text[])
    on conflict (user_id, version, room_id, session_id) do update set
      first_message_index = excluded.first_message_index,
      forwarded_count = excluded.forwarded_count, is_verified = excluded.is_verified,
      session_data = excluded.session_data
    -- false before true: the verified first, then the lower index, then the lower count
    where (not excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
      < (not old.is_verified, old.first_message_index, old.forwarded_count)
    returning xmax = 0 as is_new`.execute(tx);
  const added = rows.filter((row) => row.is_new).length;
  return { added, replaced: rows.length - added };
}

/** @returns how many keys there were */
export async function removeKeys(
  tx: Tx,
  userId: UserId,
  version: number,
  scope: KeyScope,
): Promise<number> {
  let query = tx
    .deleteFrom("key_backup_keys")
    .where("user_id", "=", userId)
    .where("version", "=", version);
  if (scope.roomId !== undefined) query = query.where("room_id", "=", scope.roomId);
  if (scope.sessionId !== undefined) query = query.where("session_id", "=", scope.sessionId);
  const removed = await query.executeTakeFirst();
  return Number(removed.numDeletedRows);
}

/** Notes that keys of a backup changed. */
export async function noteKeys(
  tx: Tx,
  userId: UserId,
  version: number,
  change: { countBy: number },
): Promise<{ etag: number; count: number }> {
  const { etag, key_count } = await tx
    .updateTable("key_backups")
    .set((column) => ({
      etag: column("etag", "+", 1),
      key_count: column("key_count", "+", change.countBy),
    }))
    .where("user_id", "=", userId)
    .where("version", "=", version)
    .returning(["etag", "key_count"])
    .executeTakeFirstOrThrow();
  return { etag, count: key_count };
}

/** Keys in order of room and session, after a place. */
export async function listKeys(
  db: Db,
  userId: UserId,
  version: number,
  scope: KeyScope,
  page: { after?: { roomId: RoomId; sessionId: string } | undefined; limit: number },
): Promise<BackedUpKeyRow[]> {
  let query = db
    .selectFrom("key_backup_keys")
    .selectAll()
    .where("user_id", "=", userId)
    .where("version", "=", version);
  if (scope.roomId !== undefined) query = query.where("room_id", "=", scope.roomId);
  if (scope.sessionId !== undefined) query = query.where("session_id", "=", scope.sessionId);
  if (page.after !== undefined) {
    const { roomId, sessionId } = page.after;
    query = query.where(sql<boolean>`(room_id, session_id) > (${roomId}, ${sessionId})`);
  }
  return query.orderBy("room_id").orderBy("session_id").limit(page.limit).execute();
}
