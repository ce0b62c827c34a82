/** Pushers: where a user's notifications go. Table: sql/0009-push.sql. */
import type { UserId } from "../spec/identifiers.ts";
import type { JsonObject } from "../spec/shape.ts";
import { parseStored } from "../spec/strict-json.ts";
import type { Db, Tx } from "./database.ts";

export interface Pusher {
  user_id: UserId;
  app_id: string;
  pushkey: string;
  kind: string;
  app_display_name: string;
  device_display_name: string;
  profile_tag: string | null;
  lang: string;
  data: JsonObject;
  /** Of the session that made it. */
  device_id: string | null;
  created_ts: number;
}
type PushersTable = Omit<Pusher, "data"> & { data: string };
export interface PusherTables {
  pushers: PushersTable;
}

/** A user's pushers, in the order in which they were made. */
export async function list(db: Db, userId: UserId): Promise<Pusher[]> {
  const rows = await db
    .selectFrom("pushers")
    .selectAll()
    .where("user_id", "=", userId)
    .orderBy("created_ts")
    .orderBy("app_id")
    .orderBy("pushkey")
    .execute();
  return rows.map((row) => ({ ...row, data: parseStored(row.data) as JsonObject }));
}

/** Sets a pusher, replacing what its user, app and key held. */
export async function put(tx: Tx, pusher: Pusher): Promise<void> {
  const { created_ts: _, ...changes } = { ...pusher, data: JSON.stringify(pusher.data) };
  await tx
    .insertInto("pushers")
    .values({ ...changes, created_ts: pusher.created_ts })
    .onConflict((key) => key.columns(["app_id", "pushkey", "user_id"]).doUpdateSet(changes))
    .execute();
}

type Key = Pick<Pusher, "user_id" | "app_id" | "pushkey">;

export async function remove(tx: Tx, { user_id, app_id, pushkey }: Key): Promise<void> {
  await tx
    .deleteFrom("pushers")
    .where("app_id", "=", app_id)
    .where("pushkey", "=", pushkey)
    .where("user_id", "=", user_id)
    .execute();
}

/** Removes those of other users with the same app and key. */
export async function removeOfOthers(tx: Tx, { user_id, app_id, pushkey }: Key): Promise<void> {
  await tx
    .deleteFrom("pushers")
    .where("app_id", "=", app_id)
    .where("pushkey", "=", pushkey)
    .where("user_id", "!=", user_id)
    .execute();
}

export async function removeOfDevices(
  tx: Tx,
  userId: UserId,
  deviceIds: readonly string[],
): Promise<void> {
  await tx
    .deleteFrom("pushers")
    .where("user_id", "=", userId)
    .where("device_id", "in", [...deviceIds])
    .execute();
}
