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
export interface ProfileTables {
  profiles: ProfilesTable;
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
  return Number(size);
}

/** What member events and presence tell of some users. */
export async function listNames(
  db: Db,
  userIds: readonly UserId[],
): Promise<Map<UserId, { displayname?: string; avatar_url?: string }>> {
  const found = new Map<UserId, { displayname?: string; avatar_url?: string }>();
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
