/** Identity keys of devices of ours. Table: sql/0004-keys.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

interface DeviceKeysTable {
  user_id: UserId;
  device_id: string;
  json: string; // canonical
}
export interface DeviceKeyTables {
  device_keys: DeviceKeysTable;
}

export interface NamedDeviceKeys extends DeviceKeysTable {
  display_name: string | null;
}

/** Sets a device's keys. @returns false where there is no such device */
export async function put(tx: Tx, row: DeviceKeysTable): Promise<boolean> {
  const { rows } = await sql`
    insert into device_keys (user_id, device_id, json)
    select user_id, device_id, ${row.json} from devices
    where user_id = ${row.user_id} and device_id = ${row.device_id}
    on conflict (user_id, device_id) do update set json = excluded.json
    returning 1`.execute(tx);
  return rows.length === 1;
}

/** @returns canonical JSON */
export async function find(db: Db, userId: UserId, deviceId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom("device_keys")
    .select("json")
    .where("user_id", "=", userId)
    .where("device_id", "=", deviceId)
    .executeTakeFirst();
  return row?.json;
}

/** The keys of all devices of some users, with the devices' names. */
export async function listOf(db: Db, userIds: readonly UserId[]): Promise<NamedDeviceKeys[]> {
  if (userIds.length === 0) return [];
  const { rows } = await sql<NamedDeviceKeys>`
    select k.user_id, k.device_id, k.json, d.display_name
    from device_keys k join devices d using (user_id, device_id)
    where k.user_id = any(${userIds})`.execute(db);
  return rows;
}

/** The keys of some devices. */
export async function listDevices(
  db: Db,
  devices: readonly { userId: UserId; deviceId: string }[],
): Promise<NamedDeviceKeys[]> {
  if (devices.length === 0) return [];
  const { rows } = await sql<NamedDeviceKeys>`
    select k.user_id, k.device_id, k.json, d.display_name
    from unnest(
      ${devices.map((d) => d.userId)}::text[], ${devices.map((d) => d.deviceId)}::text[]
    ) as wanted (user_id, device_id)
    join device_keys k using (user_id, device_id)
    join devices d using (user_id, device_id)`.execute(db);
  return rows;
}

export async function remove(tx: Tx, userId: UserId, deviceIds: readonly string[]): Promise<void> {
  await tx
    .deleteFrom("device_keys")
    .where("user_id", "=", userId)
    .where("device_id", "in", deviceIds)
    .execute();
}
