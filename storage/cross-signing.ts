/** Cross-signing keys, and signatures on keys. Tables: sql/0004-keys.sql. */
import { sql } from "kysely";
import type { CrossSigningUsage } from "../spec/encryption-keys.ts";
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

export interface CrossSigningKeyRow {
  user_id: UserId;
  usage: CrossSigningUsage;
  public_key: string;
  json: string; // canonical
}
export interface KeySignatureRow {
  user_id: UserId;
  key_id: string; // a device ID or a public key
  signer_user_id: UserId;
  signer_key_id: string;
  signature: string;
  position: number;
}
export interface CrossSigningTables {
  cross_signing_keys: CrossSigningKeyRow;
  key_signatures: KeySignatureRow;
}

export async function listKeys(db: Db, userIds: readonly UserId[]): Promise<CrossSigningKeyRow[]> {
  if (userIds.length === 0) return [];
  const { rows } = await sql<CrossSigningKeyRow>`
    select user_id, usage, public_key, json from cross_signing_keys
    where user_id = any(${userIds})`.execute(db);
  return rows;
}

export async function isPublicKey(db: Db, userId: UserId, publicKey: string): Promise<boolean> {
  const row = await db
    .selectFrom("cross_signing_keys")
    .select("usage")
    .where("user_id", "=", userId)
    .where("public_key", "=", publicKey)
    .executeTakeFirst();
  return row !== undefined;
}

export async function putKey(tx: Tx, row: CrossSigningKeyRow): Promise<void> {
  const { public_key, json } = row;
  await tx
    .insertInto("cross_signing_keys")
    .values(row)
    .onConflict((key) => key.columns(["user_id", "usage"]).doUpdateSet({ public_key, json }))
    .execute();
}

export async function removeKey(tx: Tx, userId: UserId, usage: CrossSigningUsage): Promise<void> {
  await tx
    .deleteFrom("cross_signing_keys")
    .where("user_id", "=", userId)
    .where("usage", "=", usage)
    .execute();
}

/** The signatures on users' keys that a viewer may see: the users' own, and the viewer's. */
export async function listSignatures(
  db: Db,
  userIds: readonly UserId[],
  viewer: UserId | undefined,
): Promise<KeySignatureRow[]> {
  if (userIds.length === 0) return [];
  const { rows } = await sql<KeySignatureRow>`
    select user_id, key_id, signer_user_id, signer_key_id, signature, position from key_signatures
    where user_id = any(${userIds})
      and (signer_user_id = user_id or signer_user_id = ${viewer ?? ""})`.execute(db);
  return rows;
}

export async function putSignatures(tx: Tx, rows: readonly KeySignatureRow[]): Promise<void> {
  if (rows.length === 0) return;
  await sql`
    insert into key_signatures (user_id, key_id, signer_user_id, signer_key_id, signature, position)
    select * from unnest(
      ${rows.map((r) => r.user_id)}::text[], ${rows.map((r) => r.key_id)}::text[],
      ${rows.map((r) => r.signer_user_id)}::text[], ${rows.map((r) => r.signer_key_id)}::text[],
      ${rows.map((r) => r.signature)}::text[], ${rows.map((r) => r.position)}::int8[])
    on conflict (user_id, key_id, signer_user_id, signer_key_id)
    do update set signature = excluded.signature, position = excluded.position`.execute(tx);
}

/** Removes all signatures on some keys of a user. */
export async function removeSignaturesOn(
  tx: Tx,
  userId: UserId,
  keyIds: readonly string[],
): Promise<void> {
  if (keyIds.length === 0) return;
  await tx
    .deleteFrom("key_signatures")
    .where("user_id", "=", userId)
    .where("key_id", "in", keyIds)
    .execute();
}

/** Removes all signatures by some keys of a user. */
export async function removeSignaturesBy(
  tx: Tx,
  userId: UserId,
  signerKeyIds: readonly string[],
): Promise<void> {
  if (signerKeyIds.length === 0) return;
  await tx
    .deleteFrom("key_signatures")
    .where("signer_user_id", "=", userId)
    .where("signer_key_id", "in", signerKeyIds)
    .execute();
}

/** The other users whose keys a user signed after a stream position. Index key_signatures_signer. */
export async function listSignedUsers(db: Db, signer: UserId, after: number): Promise<UserId[]> {
  const rows = await db
    .selectFrom("key_signatures")
    .select("user_id")
    .distinct()
    .where("signer_user_id", "=", signer)
    .where("position", ">", after)
    .where("user_id", "<>", signer)
    .execute();
  return rows.map((row) => row.user_id);
}
