/** Messages that wait for devices of ours. Tables: sql/0004-keys.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

interface ToDeviceTable {
  user_id: UserId;
  device_id: string;
  position: number;
  bytes: number;
  json: string;
}
interface ToDeviceQueuesTable {
  user_id: UserId;
  device_id: string;
  bytes: number;
}
interface ToDeviceTransactionsTable {
  user_id: UserId;
  device_id: string;
  type: string;
  txn_id: string;
  created_ts: number;
}
export interface ToDeviceTables {
  to_device: ToDeviceTable;
  to_device_queues: ToDeviceQueuesTable;
  to_device_transactions: ToDeviceTransactionsTable;
}

export interface Queue {
  user_id: UserId;
  device_id: string;
  /** Of the messages that wait. */
  bytes: number;
}

/** A message on its way to one device. */
export interface NewMessage {
  userId: UserId;
  deviceId: string;
  position: number;
  json: string;
}

/** All devices of some users with what waits for them. */
export async function listQueuesOf(db: Db, userIds: readonly UserId[]): Promise<Queue[]> {
  if (userIds.length === 0) return [];
  const { rows } = await sql<Queue>`
    select d.user_id, d.device_id, coalesce(q.bytes, 0)::int8 as bytes
    from devices d left join to_device_queues q using (user_id, device_id)
    where d.user_id = any(${userIds})`.execute(db);
  return rows;
}

/** The same for some devices; those that are not there are left out. */
export async function listQueues(
  db: Db,
  devices: readonly { userId: UserId; deviceId: string }[],
): Promise<Queue[]> {
  if (devices.length === 0) return [];
  const { rows } = await sql<Queue>`
    select d.user_id, d.device_id, coalesce(q.bytes, 0)::int8 as bytes
    from unnest(
      ${devices.map((d) => d.userId)}::text[], ${devices.map((d) => d.deviceId)}::text[]
    ) as wanted (user_id, device_id)
    join devices d using (user_id, device_id)
    left join to_device_queues q using (user_id, device_id)`.execute(db);
  return rows;
}

/** Puts messages into the queues of their devices, at most one each; a device that is gone gets none. */
export async function add(tx: Tx, messages: readonly NewMessage[]): Promise<void> {
  await sql`
    with arriving as (
      select m.* from unnest(
        ${messages.map((m) => m.userId)}::text[], ${messages.map((m) => m.deviceId)}::text[],
        ${messages.map((m) => m.position)}::int8[],
        ${messages.map((m) => Buffer.byteLength(m.json))}::int4[],
        ${messages.map((m) => m.json)}::text[]
      ) as m (user_id, device_id, position, bytes, json)
      join devices using (user_id, device_id)
    ), queues as (
      insert into to_device_queues as q (user_id, device_id, bytes)
      select user_id, device_id, bytes from arriving order by user_id, device_id
      on conflict (user_id, device_id) do update set bytes = q.bytes + excluded.bytes
    )
    insert into to_device (user_id, device_id, position, bytes, json)
    select user_id, device_id, position, bytes, json from arriving`.execute(tx);
}

/** Messages with positions in `(after, upTo]`, oldest first. */
export async function list(
  db: Db,
  userId: UserId,
  deviceId: string,
  range: { after: number; upTo: number; limit: number },
): Promise<{ position: number; json: string }[]> {
  return db
    .selectFrom("to_device")
    .select(["position", "json"])
    .where("user_id", "=", userId)
    .where("device_id", "=", deviceId)
    .where("position", ">", range.after)
    .where("position", "<=", range.upTo)
    .orderBy("position")
    .limit(range.limit)
    .execute();
}

/** Removes the messages up to a position. */
export async function removeUpTo(
  tx: Tx,
  userId: UserId,
  deviceId: string,
  position: number,
): Promise<void> {
  await sql`
    with removed as (
      delete from to_device
      where user_id = ${userId} and device_id = ${deviceId} and position <= ${position}
      returning bytes
    )
    update to_device_queues set bytes = bytes - (select coalesce(sum(bytes), 0) from removed)
    where user_id = ${userId} and device_id = ${deviceId}`.execute(tx);
}

/** Removes all that waits for devices and all that is known of what they sent. */
export async function removeOf(
  tx: Tx,
  userId: UserId,
  deviceIds: readonly string[],
): Promise<void> {
  for (const table of ["to_device", "to_device_queues", "to_device_transactions"] as const) {
    await tx
      .deleteFrom(table)
      .where("user_id", "=", userId)
      .where("device_id", "in", deviceIds)
      .execute();
  }
}

export interface TransactionKey {
  userId: UserId;
  deviceId: string;
  type: string;
  txnId: string;
}

export async function hasTransaction(db: Db, key: TransactionKey): Promise<boolean> {
  const row = await db
    .selectFrom("to_device_transactions")
    .select("created_ts")
    .where("user_id", "=", key.userId)
    .where("device_id", "=", key.deviceId)
    .where("type", "=", key.type)
    .where("txn_id", "=", key.txnId)
    .executeTakeFirst();
  return row !== undefined;
}

/** Notes a transaction. @returns false where it was noted before */
export async function addTransaction(tx: Tx, key: TransactionKey, now: number): Promise<boolean> {
  const { userId, deviceId, type, txnId } = key;
  const added = await tx
    .insertInto("to_device_transactions")
    .values({ user_id: userId, device_id: deviceId, type, txn_id: txnId, created_ts: now })
    .onConflict((key) => key.doNothing())
    .executeTakeFirst();
  return added.numInsertedOrUpdatedRows === 1n;
}

/** Forgets transactions that began before a time. Index to_device_transactions_created. */
export async function removeTransactionsBefore(tx: Tx, ts: number): Promise<void> {
  await tx.deleteFrom("to_device_transactions").where("created_ts", "<", ts).execute();
}
