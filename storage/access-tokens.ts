/**
 * Access tokens and the refresh tokens that renew them, each known by its hash only.
 * Tables: sql/0003-accounts.sql.
 *
 * Whoever changes the tokens of a device holds the lock of the device's row (`devices.lock`).
 */
import type { Generated } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Account } from "./accounts.ts";
import type { Db, Tx } from "./database.ts";
import type { Device } from "./devices.ts";

interface AccessTokensTable {
  id: Generated<number>;
  token_hash: Buffer;
  user_id: UserId;
  device_id: string;
  created_ts: number;
  expires_ts: number | null;
  refresh_id: number | null;
}
interface RefreshTokensTable {
  id: Generated<number>;
  token_hash: Buffer;
  family_hash: Buffer;
  user_id: UserId;
  device_id: string;
  replaces_id: number | null;
}
export interface AccessTokenTables {
  access_tokens: AccessTokensTable;
  refresh_tokens: RefreshTokensTable;
}

/** An access token with what it opens. */
export interface Session
  extends
    Pick<
      Account,
      "user_id" | "is_admin" | "is_guest" | "is_locked" | "is_suspended" | "is_deactivated"
    >,
    Pick<Device, "device_id" | "last_seen_ts" | "last_seen_ip"> {
  id: number;
  expires_ts: number | null;
  /** The refresh token given with it, while it still stands beside the one that it replaces. */
  unconfirmed_id: number | null;
}

export type RefreshToken = Omit<RefreshTokensTable, "id" | "token_hash"> & { id: number };

/** Unique index on access_tokens (token_hash); the rest by primary keys. */
export async function findSession(db: Db, tokenHash: Buffer): Promise<Session | undefined> {
  return db
    .selectFrom("access_tokens as t")
    .innerJoin("accounts as a", "a.user_id", "t.user_id")
    .innerJoin("devices as d", (on) =>
      on.onRef("d.user_id", "=", "t.user_id").onRef("d.device_id", "=", "t.device_id"),
    )
    .leftJoin("refresh_tokens as r", (on) =>
      on.onRef("r.id", "=", "t.refresh_id").on("r.replaces_id", "is not", null),
    )
    .select(["t.id", "t.user_id", "t.device_id", "t.expires_ts", "r.id as unconfirmed_id"])
    .select(["a.is_admin", "a.is_guest", "a.is_locked", "a.is_suspended", "a.is_deactivated"])
    .select(["d.last_seen_ts", "d.last_seen_ip"])
    .where("t.token_hash", "=", tokenHash)
    .executeTakeFirst();
}

/** Whether a token is still there, and its account not locked. */
export async function findStanding(
  db: Db,
  id: number,
): Promise<{ is_locked: boolean; is_deactivated: boolean } | undefined> {
  return db
    .selectFrom("access_tokens as t")
    .innerJoin("accounts as a", "a.user_id", "t.user_id")
    .select(["a.is_locked", "a.is_deactivated"])
    .where("t.id", "=", id)
    .executeTakeFirst();
}

export async function addAccess(tx: Tx, row: Omit<AccessTokensTable, "id">): Promise<void> {
  await tx.insertInto("access_tokens").values(row).execute();
}

/** @returns its ID */
export async function addRefresh(tx: Tx, row: Omit<RefreshTokensTable, "id">): Promise<number> {
  const { id } = await tx
    .insertInto("refresh_tokens")
    .values(row)
    .returning("id")
    .executeTakeFirstOrThrow();
  return id;
}

export async function findRefresh(db: Db, tokenHash: Buffer): Promise<RefreshToken | undefined> {
  return db
    .selectFrom("refresh_tokens")
    .select(["id", "family_hash", "user_id", "device_id", "replaces_id"])
    .where("token_hash", "=", tokenHash)
    .executeTakeFirst();
}

/** Whose a family of refresh tokens is. Index refresh_tokens_family. */
export async function findFamily(
  db: Db,
  familyHash: Buffer,
): Promise<{ user_id: UserId; device_id: string } | undefined> {
  return db
    .selectFrom("refresh_tokens")
    .select(["user_id", "device_id"])
    .where("family_hash", "=", familyHash)
    .executeTakeFirst();
}

/** Removes the tokens that were given for a refresh token and not used yet. */
export async function removeSuccessors(tx: Tx, refreshId: number): Promise<number> {
  const removed = await tx
    .deleteFrom("refresh_tokens")
    .where("replaces_id", "=", refreshId)
    .returning("id")
    .execute();
  return removeAccessOf(
    tx,
    removed.map((row) => row.id),
  );
}

/**
 * The pair of a refresh token was used: what it replaced goes.
 *
 * @returns how many access tokens were removed
 */
export async function confirm(tx: Tx, refreshId: number): Promise<number> {
  const row = await tx
    .selectFrom("refresh_tokens")
    .select("replaces_id")
    .where("id", "=", refreshId)
    .executeTakeFirst();
  const replaced = row?.replaces_id ?? null;
  if (replaced === null) return 0;
  await tx.deleteFrom("refresh_tokens").where("id", "=", replaced).execute();
  await tx
    .updateTable("refresh_tokens")
    .set({ replaces_id: null })
    .where("id", "=", refreshId)
    .execute();
  return removeAccessOf(tx, [replaced]);
}

async function removeAccessOf(tx: Tx, refreshIds: readonly number[]): Promise<number> {
  if (refreshIds.length === 0) return 0;
  const removed = await tx
    .deleteFrom("access_tokens")
    .where("refresh_id", "in", refreshIds)
    .executeTakeFirst();
  return Number(removed.numDeletedRows);
}

/** Removes all tokens of some devices, or of all devices, of a user. */
export async function removeOf(
  tx: Tx,
  userId: UserId,
  deviceIds?: readonly string[],
): Promise<void> {
  if (deviceIds?.length === 0) return;
  for (const table of ["access_tokens", "refresh_tokens"] as const) {
    let query = tx.deleteFrom(table).where("user_id", "=", userId);
    if (deviceIds !== undefined) query = query.where("device_id", "in", deviceIds);
    await query.execute();
  }
}
