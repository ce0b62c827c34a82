/** Profiles: one JSON value a user and field. Table: sql/0003-accounts.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import { parseStored } from "../spec/strict-json.ts";
import type { Db, Tx } from "./database.ts";

interface ProfilesTable {
  user_id: UserId;
  field: string;
  value: string;
  position: number;
}
interface ProfileUpdatesTable {
  user_id: UserId;
  position: number;
}
export interface ProfileTables {
  profiles: ProfilesTable;
  profile_updates: ProfileUpdatesTable;
}

/** What member events and presence tell of a user. */
export interface Names {
  displayname?: string;
  avatar_url?: string;
}

/** Sets one field, replacing what it held. */
export async function put(
  tx: Tx,
  row: Omit<ProfilesTable, "value"> & { value: unknown },
): Promise<void> {
  const value = JSON.stringify(row.value);
  await tx
    .insertInto("profiles")
    .values({ ...row, value })
    .onConflict((key) =>
      key.columns(["user_id", "field"]).doUpdateSet({ value, position: row.position }),
    )
    .execute();
}

export async function remove(tx: Tx, userId: UserId, field: string): Promise<void> {
  await tx
    .deleteFrom("profiles")
    .where("user_id", "=", userId)
    .where("field", "=", field)
    .execute();
}

export async function removeOf(tx: Tx, userId: UserId): Promise<void> {
  await tx.deleteFrom("profiles").where("user_id", "=", userId).execute();
}

/** All fields of a user, in order of name. */
export async function list(db: Db, userId: UserId): Promise<Map<string, unknown>> {
  const rows = await db
    .selectFrom("profiles")
    .select(["field", "value"])
    .where("user_id", "=", userId)
    .orderBy("field")
    .execute();
  return new Map(rows.map((row) => [row.field, parseStored(row.value)]));
}

/** Bytes of what a user's other fields take as a JSON object, its braces left out. */
export async function sizeWithout(db: Db, userId: UserId, field: string): Promise<number> {
  const { size } = await db
    .selectFrom("profiles")
    // Quotes and colon around each name, and a comma after each value.
    .select(sql<number>`coalesce(sum(octet_length(field) + octet_length(value) + 4), 0)`.as("size"))
    .where("user_id", "=", userId)
    .where("field", "!=", field)
    .executeTakeFirstOrThrow();
  return size;
}

/** The names of some users; those who have none are left out. */
export async function listNames(db: Db, userIds: readonly UserId[]): Promise<Map<UserId, Names>> {
  const found = new Map<UserId, Names>();
  if (userIds.length === 0) return found;
  const rows = await db
    .selectFrom("profiles")
    .select(["user_id", "field", "value"])
    .where("user_id", "in", userIds)
    .where("field", "in", ["displayname", "avatar_url"])
    .execute();
  for (const { user_id, field, value } of rows) {
    const names = found.get(user_id) ?? {};
    // Only strings are stored under these two names.
    names[field as "displayname" | "avatar_url"] = JSON.parse(value) as string;
    found.set(user_id, names);
  }
  return found;
}

/** Notes that member events are to be sent, until `removeUpdate`. */
export async function putUpdate(tx: Tx, row: ProfileUpdatesTable): Promise<void> {
  await tx
    .insertInto("profile_updates")
    .values(row)
    .onConflict((key) => key.column("user_id").doUpdateSet({ position: row.position }))
    .execute();
}

/** Those who changed their names and whose member events may lag behind. */
export async function listUpdates(db: Db): Promise<ProfileUpdatesTable[]> {
  return db.selectFrom("profile_updates").selectAll().execute();
}

/** The member events are sent; a later change stays noted. */
export async function removeUpdate(tx: Tx, row: ProfileUpdatesTable): Promise<void> {
  await tx
    .deleteFrom("profile_updates")
    .where("user_id", "=", row.user_id)
    .where("position", "<=", row.position)
    .execute();
}
