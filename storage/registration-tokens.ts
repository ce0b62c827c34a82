/** Tokens with which accounts can be made. Table: sql/0003-accounts.sql. */
import type { Generated } from "kysely";
import type { Db, Tx } from "./database.ts";

export interface RegistrationToken {
  token: string;
  /** Null: any number of times. */
  uses_allowed: number | null;
  completed: number;
  created_ts: number;
  /** Null: never. */
  expires_ts: number | null;
}
export interface RegistrationTokenTables {
  registration_tokens: Omit<RegistrationToken, "completed"> & { completed: Generated<number> };
}

/** @returns false where there is such a token already */
export async function add(tx: Tx, row: Omit<RegistrationToken, "completed">): Promise<boolean> {
  const added = await tx
    .insertInto("registration_tokens")
    .values(row)
    .onConflict((key) => key.column("token").doNothing())
    .executeTakeFirst();
  return added.numInsertedOrUpdatedRows === 1n;
}

export async function find(db: Db, token: string): Promise<RegistrationToken | undefined> {
  return db
    .selectFrom("registration_tokens")
    .selectAll()
    .where("token", "=", token)
    .executeTakeFirst();
}

/** Oldest first. */
export async function list(db: Db): Promise<RegistrationToken[]> {
  return db
    .selectFrom("registration_tokens")
    .selectAll()
    .orderBy("created_ts")
    .orderBy("token")
    .execute();
}

/**
 * Counts one use, in the transaction that makes the account.
 *
 * @returns false where the token is unknown, expired or used up
 */
export async function use(tx: Tx, token: string, now: number): Promise<boolean> {
  const used = await tx
    .updateTable("registration_tokens")
    .set((row) => ({ completed: row("completed", "+", 1) }))
    .where("token", "=", token)
    .where((row) =>
      row.and([
        row.or([row("uses_allowed", "is", null), row("uses_allowed", ">", row.ref("completed"))]),
        row.or([row("expires_ts", "is", null), row("expires_ts", ">", now)]),
      ]),
    )
    .executeTakeFirst();
  return used.numUpdatedRows === 1n;
}

/** @returns false where there was no such token */
export async function remove(tx: Tx, token: string): Promise<boolean> {
  const removed = await tx
    .deleteFrom("registration_tokens")
    .where("token", "=", token)
    .executeTakeFirst();
  return removed.numDeletedRows === 1n;
}
