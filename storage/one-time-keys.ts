/** One-time and fallback keys of devices of ours. Tables: sql/0004-keys.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

interface OneTimeKeysTable {
  user_id: UserId;
  device_id: string;
  algorithm: string;
  key_id: string;
  position: number;
  json: string; // canonical
}
interface SpentOneTimeKeysTable {
  user_id: UserId;
  device_id: string;
  algorithm: string;
  key_id: string;
  position: number;
  json_hash: Buffer;
}
interface FallbackKeysTable {
  user_id: UserId;
  device_id: string;
  algorithm: string;
  key_id: string;
  is_used: boolean;
  json: string; // canonical
}
export interface OneTimeKeyTables {
  one_time_keys: OneTimeKeysTable;
  spent_one_time_keys: SpentOneTimeKeysTable;
  fallback_keys: FallbackKeysTable;
}

export interface DeviceId {
  userId: UserId;
  deviceId: string;
}
/** A key as canonical JSON. */
export interface NewKey {
  algorithm: string;
  keyId: string;
  json: string;
}
/** Of which algorithm a key of a device is wanted. */
export interface WantedKey extends DeviceId {
  algorithm: string;
}
export interface ClaimedKey {
  user_id: UserId;
  device_id: string;
  algorithm: string;
  key_id: string;
  json: string;
}

/** Spent keys that are remembered for a device, the newest. */
const MAX_SPENT = 1000;

/** What is known of keys that a device uploads. */
export interface KnownKey {
  algorithm: string;
  key_id: string;
  /** Whether the key has another value now; such a key must not be added. */
  is_other: boolean;
}

/** Those of some keys whose IDs are in stock, and those that were given out with the same value. */
export async function listKnown(
  db: Db,
  device: DeviceId,
  keys: readonly NewKey[],
): Promise<KnownKey[]> {
  const { rows } = await sql<KnownKey>`
    with wanted as (select * from ${unnestKeys(keys)})
    select k.algorithm, k.key_id, k.json <> w.json as is_other
    from wanted w join one_time_keys k on k.user_id = ${device.userId}
      and k.device_id = ${device.deviceId} and k.algorithm = w.algorithm and k.key_id = w.key_id
    union all
    select s.algorithm, s.key_id, false
    from wanted w join spent_one_time_keys s on s.user_id = ${device.userId}
      and s.device_id = ${device.deviceId} and s.algorithm = w.algorithm and s.key_id = w.key_id
      and s.json_hash = sha256(convert_to(w.json, 'UTF8'))`.execute(db);
  return rows;
}

/**
 * Adds one-time keys to the stock of a device that is there; those that were given out before are
 * passed over.
 *
 * @returns the keys that have another value in stock, which were not changed
 */
export async function add(
  tx: Tx,
  device: DeviceId,
  keys: readonly NewKey[],
  position: number,
): Promise<KnownKey[]> {
  const known = await listKnown(tx, device, keys);
  const isKnown = new Set(known.map((key) => `${key.algorithm}:${key.key_id}`));
  const news = keys.filter((key) => !isKnown.has(`${key.algorithm}:${key.keyId}`));
  if (news.length > 0) {
    await sql`
      insert into one_time_keys (user_id, device_id, algorithm, key_id, position, json)
      select user_id, device_id, algorithm, key_id, ${position}::int8, json
      from ${unnestKeys(news)}, devices
      where user_id = ${device.userId} and device_id = ${device.deviceId}`.execute(tx);
  }
  return known.filter((key) => key.is_other);
}

/** Keeps a device's stock within bounds: the newest stay, as their private parts do at the device. */
export async function trim(tx: Tx, device: DeviceId, max: number): Promise<void> {
  const { userId, deviceId } = device;
  await sql`
    delete from one_time_keys where (user_id, device_id, algorithm, key_id) in (
      select user_id, device_id, algorithm, key_id from one_time_keys
      where user_id = ${userId} and device_id = ${deviceId}
      order by position desc, key_id offset ${max})`.execute(tx);
  await sql`
    delete from spent_one_time_keys where (user_id, device_id, algorithm, key_id, json_hash) in (
      select user_id, device_id, algorithm, key_id, json_hash from spent_one_time_keys
      where user_id = ${userId} and device_id = ${deviceId}
      order by position desc, key_id offset ${MAX_SPENT})`.execute(tx);
}

/** How many one-time keys a device has in stock, by algorithm. */
export async function counts(db: Db, device: DeviceId): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom("one_time_keys")
    .select(["algorithm", sql<number>`count(*)`.as("count")])
    .where("user_id", "=", device.userId)
    .where("device_id", "=", device.deviceId)
    .groupBy("algorithm")
    .execute();
  return new Map(rows.map((row) => [row.algorithm, row.count]));
}

/** Sets fallback keys of a device that is there, one an algorithm. The same key again stays used. */
export async function putFallbacks(
  tx: Tx,
  device: DeviceId,
  keys: readonly NewKey[],
): Promise<void> {
  if (keys.length === 0) return;
  await sql`
    insert into fallback_keys as f (user_id, device_id, algorithm, key_id, is_used, json)
    select user_id, device_id, algorithm, key_id, false, json
    from ${unnestKeys(keys)}, devices
    where user_id = ${device.userId} and device_id = ${device.deviceId}
    on conflict (user_id, device_id, algorithm) do update
    set key_id = excluded.key_id, is_used = false, json = excluded.json
    where f.key_id <> excluded.key_id or f.json <> excluded.json`.execute(tx);
}

/** A device's fallback keys. */
export async function listFallbacks(db: Db, device: DeviceId): Promise<FallbackKeysTable[]> {
  return db
    .selectFrom("fallback_keys")
    .selectAll()
    .where("user_id", "=", device.userId)
    .where("device_id", "=", device.deviceId)
    .orderBy("algorithm")
    .execute();
}

/** What there is of wanted keys. `fallback` is given where there is no one-time key. */
export interface Supply {
  user_id: UserId;
  device_id: string;
  algorithm: string;
  has_one_time_key: boolean;
  fallback_key_id: string | null;
  fallback_json: string | null;
  is_fallback_used: boolean | null;
}

/** What a claim of some keys would find; keys of which there are none are left out. */
export async function listSupplies(db: Db, wanted: readonly WantedKey[]): Promise<Supply[]> {
  const { rows } = await sql<Supply>`
    select * from (
      select w.user_id, w.device_id, w.algorithm, exists (
          select from one_time_keys k where k.user_id = w.user_id and k.device_id = w.device_id
            and k.algorithm = w.algorithm
        ) as has_one_time_key,
        f.key_id as fallback_key_id, f.json as fallback_json, f.is_used as is_fallback_used
      from ${unnestWanted(wanted)} left join fallback_keys f using (user_id, device_id, algorithm)
    ) supplies where has_one_time_key or fallback_key_id is not null`.execute(db);
  return rows;
}

/**
 * Takes one-time keys out of the stock, the oldest first, for good. Index one_time_keys_order.
 *
 * @returns at most one key for each that is wanted
 */
export async function claim(
  tx: Tx,
  wanted: readonly WantedKey[],
  position: number,
): Promise<ClaimedKey[]> {
  const { rows } = await sql<ClaimedKey>`
    with chosen as (
      select w.user_id, w.device_id, w.algorithm, oldest.key_id
      from ${unnestWanted(wanted)} cross join lateral (
        select k.key_id from one_time_keys k where k.user_id = w.user_id
          and k.device_id = w.device_id and k.algorithm = w.algorithm
        order by k.position, k.key_id limit 1
      ) oldest
    ), taken as (
      delete from one_time_keys k using chosen c
      where k.user_id = c.user_id and k.device_id = c.device_id and k.algorithm = c.algorithm
        and k.key_id = c.key_id
      returning k.user_id, k.device_id, k.algorithm, k.key_id, k.json
    ), spent as (
      insert into spent_one_time_keys (user_id, device_id, algorithm, key_id, position, json_hash)
      select user_id, device_id, algorithm, key_id, ${position}::int8,
        sha256(convert_to(json, 'UTF8'))
      from taken
    )
    select * from taken`.execute(tx);
  return rows;
}

/** Gives fallback keys and notes that they are used. */
export async function claimFallbacks(tx: Tx, wanted: readonly WantedKey[]): Promise<ClaimedKey[]> {
  if (wanted.length === 0) return [];
  const { rows } = await sql<ClaimedKey>`
    update fallback_keys f set is_used = true from ${unnestWanted(wanted)}
    where f.user_id = w.user_id and f.device_id = w.device_id and f.algorithm = w.algorithm
    returning f.user_id, f.device_id, f.algorithm, f.key_id, f.json`.execute(tx);
  return rows;
}

/** Removes all one-time and fallback keys of devices. */
export async function removeOf(
  tx: Tx,
  userId: UserId,
  deviceIds: readonly string[],
): Promise<void> {
  for (const table of ["one_time_keys", "spent_one_time_keys", "fallback_keys"] as const) {
    await tx
      .deleteFrom(table)
      .where("user_id", "=", userId)
      .where("device_id", "in", deviceIds)
      .execute();
  }
}

function unnestKeys(keys: readonly NewKey[]) {
  return sql`unnest(
    ${keys.map((k) => k.algorithm)}::text[], ${keys.map((k) => k.keyId)}::text[],
    ${keys.map((k) => k.json)}::text[]
  ) as n (algorithm, key_id, json)`;
}

function unnestWanted(wanted: readonly WantedKey[]) {
  return sql`unnest(
    ${wanted.map((w) => w.userId)}::text[], ${wanted.map((w) => w.deviceId)}::text[],
    ${wanted.map((w) => w.algorithm)}::text[]
  ) as w (user_id, device_id, algorithm)`;
}
