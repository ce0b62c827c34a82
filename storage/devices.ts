/** Devices of users of ours. Table: sql/0003-accounts.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

export interface Device {
  user_id: UserId;
  device_id: string;
  display_name: string | null;
  created_ts: number;
  last_seen_ts: number | null;
  last_seen_ip: string | null;
  last_seen_user_agent: string | null;
}
export interface DeviceTables {
  devices: Device;
}

/** When and whence a device was seen. */
export interface Sighting {
  userId: UserId;
  deviceId: string;
  ts: number;
  ip: string;
  userAgent: string;
}

/**
 * Adds a device, or notes that one that was there was seen; its name then stays.
 *
 * @returns whether it is new
 */
export async function addOrTouch(tx: Tx, row: Device): Promise<boolean> {
  const { last_seen_ts, last_seen_ip, last_seen_user_agent } = row;
  const { is_new } = await tx
    .insertInto("devices")
    .values(row)
    .onConflict((key) =>
      key
        .columns(["user_id", "device_id"])
        .doUpdateSet({ last_seen_ts, last_seen_ip, last_seen_user_agent }),
    )
    // An inserted row has no deleting transaction yet.
    .returning(sql<boolean>`xmax = 0`.as("is_new"))
    .executeTakeFirstOrThrow();
  return is_new;
}

export async function find(db: Db, userId: UserId, deviceId: string): Promise<Device | undefined> {
  return db
    .selectFrom("devices")
    .selectAll()
    .where("user_id", "=", userId)
    .where("device_id", "=", deviceId)
    .executeTakeFirst();
}

/**
 * Lets nobody else change a device or its tokens before the transaction ends.
 *
 * @returns false where there is no such device
 */
export async function lock(tx: Tx, userId: UserId, deviceId: string): Promise<boolean> {
  const row = await tx
    .selectFrom("devices")
    .select("device_id")
    .where("user_id", "=", userId)
    .where("device_id", "=", deviceId)
    .forUpdate()
    .executeTakeFirst();
  return row !== undefined;
}

/** Oldest first. */
export async function list(db: Db, userId: UserId): Promise<Device[]> {
  return db
    .selectFrom("devices")
    .selectAll()
    .where("user_id", "=", userId)
    .orderBy("created_ts")
    .orderBy("device_id")
    .execute();
}

/** @returns false where there is no such device */
export async function rename(
  tx: Tx,
  userId: UserId,
  deviceId: string,
  displayName: string,
): Promise<boolean> {
  const updated = await tx
    .updateTable("devices")
    .set({ display_name: displayName })
    .where("user_id", "=", userId)
    .where("device_id", "=", deviceId)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

export async function remove(tx: Tx, userId: UserId, deviceIds: readonly string[]): Promise<void> {
  if (deviceIds.length === 0) return;
  await tx
    .deleteFrom("devices")
    .where("user_id", "=", userId)
    .where("device_id", "in", deviceIds)
    .execute();
}

/** The IDs of all devices but one. */
export async function listIds(db: Db, userId: UserId, except?: string): Promise<string[]> {
  let query = db.selectFrom("devices").select("device_id").where("user_id", "=", userId);
  if (except !== undefined) query = query.where("device_id", "!=", except);
  return (await query.execute()).map((row) => row.device_id);
}

/** Notes that devices were seen, in one statement; a newer note stays. */
export async function touch(tx: Tx, sightings: readonly Sighting[]): Promise<void> {
  if (sightings.length === 0) return;
  await sql`
    update devices set
      last_seen_ts = seen.ts, last_seen_ip = seen.ip, last_seen_user_agent = seen.user_agent
    from unnest(
      ${sightings.map((s) => s.userId)}::text[], ${sightings.map((s) => s.deviceId)}::text[],
      ${sightings.map((s) => s.ts)}::bigint[], ${sightings.map((s) => s.ip)}::text[],
      ${sightings.map((s) => s.userAgent)}::text[]
    ) as seen (user_id, device_id, ts, ip, user_agent)
    where devices.user_id = seen.user_id and devices.device_id = seen.device_id
      and coalesce(devices.last_seen_ts, 0) < seen.ts`.execute(tx);
}
