/** Accounts: users of ours. Tables: sql/0003-accounts.sql. */
import { type Generated, sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

export interface Account {
  user_id: UserId;
  created_ts: number;
  password_hash: string | null;
  is_admin: boolean;
  is_guest: boolean;
  is_locked: boolean;
  is_suspended: boolean;
  is_deactivated: boolean;
  is_erased: boolean;
  /** Deactivated, but perhaps not yet out of all rooms. */
  is_leaving: boolean;
}

type Flag = Extract<keyof Account, `is_${string}`>;

type AccountsTable = Omit<Account, Flag> & { [F in Flag]: Generated<boolean> };

interface PolicyAgreementsTable {
  user_id: UserId;
  policy_id: string;
  version: string;
  agreed_ts: number;
}

export interface AccountTables {
  accounts: AccountsTable;
  policy_agreements: PolicyAgreementsTable;
}

/** @returns false where the user ID is taken */
export async function add(
  tx: Tx,
  row: Pick<Account, "user_id" | "created_ts" | "password_hash" | "is_admin" | "is_guest">,
): Promise<boolean> {
  const added = await tx
    .insertInto("accounts")
    .values(row)
    .onConflict((key) => key.column("user_id").doNothing())
    .executeTakeFirst();
  return added.numInsertedOrUpdatedRows === 1n;
}

export async function find(db: Db, userId: UserId): Promise<Account | undefined> {
  return db.selectFrom("accounts").selectAll().where("user_id", "=", userId).executeTakeFirst();
}

/** The same, and nobody else changes it before the transaction ends. */
export async function lock(tx: Tx, userId: UserId): Promise<Account | undefined> {
  return tx
    .selectFrom("accounts")
    .selectAll()
    .where("user_id", "=", userId)
    .forUpdate()
    .executeTakeFirst();
}

/** The same, and nobody changes it before the transaction ends; others may look at it so too. */
export async function share(tx: Tx, userId: UserId): Promise<Account | undefined> {
  return tx
    .selectFrom("accounts")
    .selectAll()
    .where("user_id", "=", userId)
    .forShare()
    .executeTakeFirst();
}

/** In the order in which they were made. Index accounts_created. */
export async function list(
  db: Db,
  { after, limit }: { after?: Pick<Account, "created_ts" | "user_id"> | undefined; limit: number },
): Promise<Account[]> {
  let query = db.selectFrom("accounts").selectAll().orderBy("created_ts").orderBy("user_id");
  if (after !== undefined) {
    query = query.where(
      sql<boolean>`(created_ts, user_id) > (${after.created_ts}, ${after.user_id})`,
    );
  }
  return query.limit(limit).execute();
}

/** Those whose deactivation is not finished. Index accounts_leaving. */
export async function listLeaving(db: Db): Promise<UserId[]> {
  const rows = await db
    .selectFrom("accounts")
    .select("user_id")
    .where("is_leaving", "=", true)
    .execute();
  return rows.map((row) => row.user_id);
}

/** @returns false where there is no such account */
export async function update(
  tx: Tx,
  userId: UserId,
  change: Partial<Omit<Account, "user_id" | "created_ts">>,
): Promise<boolean> {
  const updated = await tx
    .updateTable("accounts")
    .set(change)
    .where("user_id", "=", userId)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

/** Replaces a password hash. @returns false where it is no longer the one that was read */
export async function replacePasswordHash(
  tx: Tx,
  userId: UserId,
  before: string,
  after: string,
): Promise<boolean> {
  const updated = await tx
    .updateTable("accounts")
    .set({ password_hash: after })
    .where("user_id", "=", userId)
    .where("password_hash", "=", before)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

/** Notes which policy documents a user agreed to. */
export async function addAgreements(
  tx: Tx,
  userId: UserId,
  versions: ReadonlyMap<string, string>,
  agreedTs: number,
): Promise<void> {
  if (versions.size === 0) return;
  await tx
    .insertInto("policy_agreements")
    .values(
      [...versions].map(([policy_id, version]) => ({
        user_id: userId,
        policy_id,
        version,
        agreed_ts: agreedTs,
      })),
    )
    .onConflict((key) => key.columns(["user_id", "policy_id", "version"]).doNothing())
    .execute();
}

export async function listAgreements(
  db: Db,
  userId: UserId,
): Promise<Omit<PolicyAgreementsTable, "user_id">[]> {
  return db
    .selectFrom("policy_agreements")
    .select(["policy_id", "version", "agreed_ts"])
    .where("user_id", "=", userId)
    .orderBy("policy_id")
    .orderBy("version")
    .execute();
}
