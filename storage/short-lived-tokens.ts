/** Login tokens, OpenID tokens and nonces: good for a short time, known by their hash. Tables: sql/0003-accounts.sql. */
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

interface UserTokensTable {
  token_hash: Buffer;
  user_id: UserId;
  expires_ts: number;
}
interface NoncesTable {
  nonce_hash: Buffer;
  expires_ts: number;
}
export interface ShortLivedTokenTables {
  login_tokens: UserTokensTable;
  openid_tokens: UserTokensTable;
  registration_nonces: NoncesTable;
}

export async function addLogin(tx: Tx, row: UserTokensTable): Promise<void> {
  await tx.insertInto("login_tokens").values(row).execute();
}

/** Uses a login token up. @returns whose it was, unless it has expired */
export async function takeLogin(
  tx: Tx,
  tokenHash: Buffer,
  now: number,
): Promise<UserId | undefined> {
  const row = await tx
    .deleteFrom("login_tokens")
    .where("token_hash", "=", tokenHash)
    .returning(["user_id", "expires_ts"])
    .executeTakeFirst();
  return row !== undefined && row.expires_ts > now ? row.user_id : undefined;
}

/** Adds a token, and removes all but the newest of its user. */
export async function addOpenId(tx: Tx, row: UserTokensTable, keep: number): Promise<void> {
  await tx.insertInto("openid_tokens").values(row).execute();
  await tx
    .deleteFrom("openid_tokens")
    .where("token_hash", "in", (sub) =>
      sub
        .selectFrom("openid_tokens")
        .select("token_hash")
        .where("user_id", "=", row.user_id)
        .orderBy("expires_ts", "desc")
        .offset(keep),
    )
    .execute();
}

/** Whose an OpenID token is, unless it has expired. It may be asked about again. */
export async function findOpenId(
  db: Db,
  tokenHash: Buffer,
  now: number,
): Promise<UserId | undefined> {
  const row = await db
    .selectFrom("openid_tokens")
    .select("user_id")
    .where("token_hash", "=", tokenHash)
    .where("expires_ts", ">", now)
    .executeTakeFirst();
  return row?.user_id;
}

/** Removes what a user could still use. */
export async function removeOf(tx: Tx, userId: UserId): Promise<void> {
  await tx.deleteFrom("login_tokens").where("user_id", "=", userId).execute();
  await tx.deleteFrom("openid_tokens").where("user_id", "=", userId).execute();
}

/** @returns false where it was used before */
export async function addUsedNonce(tx: Tx, row: NoncesTable): Promise<boolean> {
  const added = await tx
    .insertInto("registration_nonces")
    .values(row)
    .onConflict((key) => key.column("nonce_hash").doNothing())
    .executeTakeFirst();
  return added.numInsertedOrUpdatedRows === 1n;
}

export async function removeExpired(tx: Tx, now: number): Promise<void> {
  await tx.deleteFrom("login_tokens").where("expires_ts", "<=", now).execute();
  await tx.deleteFrom("openid_tokens").where("expires_ts", "<=", now).execute();
  await tx.deleteFrom("registration_nonces").where("expires_ts", "<=", now).execute();
}
