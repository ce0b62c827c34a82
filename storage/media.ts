/** Media, their thumbnails, and the objects of the blob store that belong to none. Tables: sql/0005-media.sql. */
import { type Generated, sql } from "kysely";
import type { ServerName, UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

/** What names one file. */
export interface MediaKey {
  server_name: ServerName;
  media_id: string;
}

/** A file's content, as its row knows it. */
export interface MediaContent {
  blob_key: string;
  content_type: string;
  file_name: string | null;
  size_bytes: number;
  sha256: Buffer;
}

/** What a file shows; `image_kind` is empty where it shows nothing. */
export interface MediaImage {
  image_kind: string | null;
  image_width: number | null;
  image_height: number | null;
  image_pages: number | null;
}

interface MediaTable extends MediaKey, MediaImage {
  user_id: UserId | null;
  created_ts: number;
  expires_ts: number | null;
  uploaded_ts: number | null;
  blob_key: string | null;
  content_type: string | null;
  file_name: string | null;
  size_bytes: number | null;
  sha256: Buffer | null;
  needs_authentication: boolean;
  last_access_ts: number;
  quarantined_by: string | null;
}

/** Which thumbnail of a file. */
export interface ThumbnailKey extends MediaKey {
  width: number;
  height: number;
  method: "crop" | "scale";
  is_animated: boolean;
}

export interface Thumbnail extends ThumbnailKey {
  blob_key: string;
  content_type: string;
  size_bytes: number;
  sha256: Buffer;
}

interface DoomedBlobsTable {
  blob_key: string;
  due_ts: number;
  is_claimed: Generated<boolean>;
}

export interface MediaTables {
  media: MediaTable;
  media_thumbnails: Thumbnail;
  doomed_blobs: DoomedBlobsTable;
}

interface MediaBase extends MediaKey, MediaImage {
  user_id: UserId | null;
  created_ts: number;
  expires_ts: number | null;
  needs_authentication: boolean;
  last_access_ts: number;
  quarantined_by: string | null;
}
/** A file whose content is there. */
export interface UploadedMedia extends MediaBase, MediaContent {
  uploaded_ts: number;
}
/** A file that was created without its content. */
export interface PendingMedia extends MediaBase {
  uploaded_ts: null;
}

export async function find(
  db: Db,
  { server_name, media_id }: MediaKey,
): Promise<UploadedMedia | PendingMedia | undefined> {
  const row = await db
    .selectFrom("media")
    .selectAll()
    .where("server_name", "=", server_name)
    .where("media_id", "=", media_id)
    .executeTakeFirst();
  // All columns of the content are set in one statement.
  return row as UploadedMedia | PendingMedia | undefined;
}

/** Which of some files have their content by now, or are there no more. */
export async function listSettled(db: Db, keys: readonly MediaKey[]): Promise<MediaKey[]> {
  const { rows } = await sql<MediaKey>`
    select w.server_name, w.media_id
    from unnest(${keys.map((k) => k.server_name)}::text[], ${keys.map((k) => k.media_id)}::text[])
      as w(server_name, media_id)
    left join media m using (server_name, media_id)
    where m.created_ts is null or m.uploaded_ts is not null`.execute(db);
  return rows;
}

/** How many files a user created without uploading them yet. Index media_pending. */
export async function countPending(tx: Tx, userId: UserId, now: number): Promise<number> {
  const { count } = await tx
    .selectFrom("media")
    .select(sql<number>`count(*)`.as("count"))
    .where("user_id", "=", userId)
    .where("uploaded_ts", "is", null)
    .where("expires_ts", ">", now)
    .executeTakeFirstOrThrow();
  return count;
}

/** Lets a user do one thing at a time that counts what he has, until the transaction ends. */
export async function lockUser(tx: Tx, userId: UserId): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`media ${userId}`}, 0))`.execute(tx);
}

/** Adds a file without its content. */
export async function addPending(
  tx: Tx,
  row: MediaKey & {
    user_id: UserId;
    now: number;
    expires_ts: number;
    needs_authentication: boolean;
  },
): Promise<void> {
  const { now, ...rest } = row;
  await tx
    .insertInto("media")
    .values({ ...rest, created_ts: now, last_access_ts: now })
    .execute();
}

/** Adds a file with its content. @returns whether there was none of this name before */
export async function add(
  tx: Tx,
  row: MediaKey &
    MediaContent & { user_id: UserId | null; now: number; needs_authentication: boolean },
): Promise<boolean> {
  const { now, ...rest } = row;
  const added = await tx
    .insertInto("media")
    .values({ ...rest, created_ts: now, uploaded_ts: now, last_access_ts: now })
    .onConflict((key) => key.doNothing())
    .executeTakeFirst();
  return added.numInsertedOrUpdatedRows === 1n;
}

/** Gives a file its content, unless it has one. @returns whether it had none */
export async function complete(
  tx: Tx,
  { server_name, media_id }: MediaKey,
  content: MediaContent & { now: number },
): Promise<boolean> {
  const { now, ...rest } = content;
  const updated = await tx
    .updateTable("media")
    .set({ ...rest, uploaded_ts: now, last_access_ts: now })
    .where("server_name", "=", server_name)
    .where("media_id", "=", media_id)
    .where("uploaded_ts", "is", null)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

/** Removes what was created and not uploaded in time. */
export async function removeExpired(tx: Tx, before: number): Promise<void> {
  await tx
    .deleteFrom("media")
    .where("uploaded_ts", "is", null)
    .where("expires_ts", "<", before)
    .execute();
}

/** Removes a file with its thumbnails, and dooms its objects. @returns whether there was one */
export async function remove(tx: Tx, key: MediaKey, now: number): Promise<boolean> {
  const thumbnails = await tx
    .deleteFrom("media_thumbnails")
    .where("server_name", "=", key.server_name)
    .where("media_id", "=", key.media_id)
    .returning("blob_key")
    .execute();
  const removed = await tx
    .deleteFrom("media")
    .where("server_name", "=", key.server_name)
    .where("media_id", "=", key.media_id)
    .returning("blob_key")
    .executeTakeFirst();
  if (removed === undefined) return false;
  for (const { blob_key } of [...thumbnails, removed]) {
    if (blob_key !== null) await doom(tx, blob_key, now);
  }
  return true;
}

/** Withdraws a file from everybody, or with null gives it back. @returns whether there is such a file */
export async function quarantine(
  tx: Tx,
  { server_name, media_id }: MediaKey,
  by: UserId | null,
): Promise<boolean> {
  const updated = await tx
    .updateTable("media")
    .set({ quarantined_by: by })
    .where("server_name", "=", server_name)
    .where("media_id", "=", media_id)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

export async function touch(
  tx: Tx,
  { server_name, media_id }: MediaKey,
  now: number,
): Promise<void> {
  await tx
    .updateTable("media")
    .set({ last_access_ts: now })
    .where("server_name", "=", server_name)
    .where("media_id", "=", media_id)
    .execute();
}

/** Files of other servers that nobody read since a time, the longest unread first. Index media_remote_access. */
export async function listUnread(db: Db, before: number, limit: number): Promise<MediaKey[]> {
  return db
    .selectFrom("media")
    .select(["server_name", "media_id"])
    .where("user_id", "is", null)
    .where("quarantined_by", "is", null)
    .where("last_access_ts", "<", before)
    .orderBy("last_access_ts")
    .limit(limit)
    .execute();
}

export async function putImage(
  tx: Tx,
  { server_name, media_id }: MediaKey,
  image: MediaImage,
): Promise<void> {
  await tx
    .updateTable("media")
    .set(image)
    .where("server_name", "=", server_name)
    .where("media_id", "=", media_id)
    .execute();
}

export async function findThumbnail(db: Db, key: ThumbnailKey): Promise<Thumbnail | undefined> {
  return db
    .selectFrom("media_thumbnails")
    .selectAll()
    .where("server_name", "=", key.server_name)
    .where("media_id", "=", key.media_id)
    .where("width", "=", key.width)
    .where("height", "=", key.height)
    .where("method", "=", key.method)
    .where("is_animated", "=", key.is_animated)
    .executeTakeFirst();
}

/**
 * Adds a thumbnail, where its file is still there and has fewer than `most`.
 *
 * @returns whether it was added
 */
export async function addThumbnail(tx: Tx, row: Thumbnail, most: number): Promise<boolean> {
  const file = await tx
    .selectFrom("media")
    .select("media_id")
    .where("server_name", "=", row.server_name)
    .where("media_id", "=", row.media_id)
    .forUpdate()
    .executeTakeFirst();
  if (file === undefined) return false;
  const { count } = await tx
    .selectFrom("media_thumbnails")
    .select(sql<number>`count(*)`.as("count"))
    .where("server_name", "=", row.server_name)
    .where("media_id", "=", row.media_id)
    .executeTakeFirstOrThrow();
  if (count >= most) return false;
  const added = await tx
    .insertInto("media_thumbnails")
    .values(row)
    .onConflict((key) => key.doNothing())
    .executeTakeFirst();
  return added.numInsertedOrUpdatedRows === 1n;
}

/** Says of an object that it is garbage from a time on. */
export async function doom(tx: Tx, blobKey: string, dueTs: number): Promise<void> {
  await tx
    .insertInto("doomed_blobs")
    .values({ blob_key: blobKey, due_ts: dueTs })
    .onConflict((key) => key.column("blob_key").doUpdateSet({ due_ts: dueTs }))
    .execute();
}

/** Spares an object that a row now points at. @returns false where it is already being removed */
export async function spare(tx: Tx, blobKey: string): Promise<boolean> {
  const removed = await tx
    .deleteFrom("doomed_blobs")
    .where("blob_key", "=", blobKey)
    .where("is_claimed", "=", false)
    .executeTakeFirst();
  return removed.numDeletedRows === 1n;
}

/** Takes objects that are due, so that they cannot be spared any more. Index doomed_blobs_due. */
export async function claimDoomed(tx: Tx, now: number, limit: number): Promise<string[]> {
  const { rows } = await sql<{ blob_key: string }>`
    update doomed_blobs set is_claimed = true where blob_key in (
      select blob_key from doomed_blobs where due_ts <= ${now} order by due_ts limit ${limit}
      for update skip locked)
    returning blob_key`.execute(tx);
  return rows.map((row) => row.blob_key);
}

/** Takes one object whatever its time. @returns false where a row points at it */
export async function claim(tx: Tx, blobKey: string, now: number): Promise<boolean> {
  const updated = await tx
    .updateTable("doomed_blobs")
    .set({ is_claimed: true, due_ts: now })
    .where("blob_key", "=", blobKey)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

/** Forgets objects that were removed from the blob store. */
export async function forgetDoomed(tx: Tx, blobKeys: readonly string[]): Promise<void> {
  if (blobKeys.length === 0) return;
  await tx.deleteFrom("doomed_blobs").where("blob_key", "in", blobKeys).execute();
}
