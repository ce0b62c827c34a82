/** User-Interactive Authentication under way. Table: sql/0003-accounts.sql. */
import type { UserId } from "../spec/identifiers.ts";
import type { JsonObject } from "../spec/shape.ts";
import type { Db, Tx } from "./database.ts";

export interface UiaSession {
  session_hash: Buffer;
  /** The method and path that it is for. */
  operation: string;
  user_id: UserId | null;
  /** Ways to authenticate, each with its stages in order. */
  flows: readonly (readonly string[])[];
  request_mac: Buffer | null;
  /** What is needed of the request to finish it; no secrets. */
  kept: JsonObject | null;
  /** The stages that are done, with what each proved. */
  completed: Record<string, JsonObject>;
  expires_ts: number;
}

type UiaSessionsTable = Omit<UiaSession, "flows" | "kept" | "completed"> & {
  flows: string;
  kept: string | null;
  completed: string;
};
export interface UiaSessionTables {
  uia_sessions: UiaSessionsTable;
}

export async function put(tx: Tx, session: UiaSession): Promise<void> {
  const { flows, kept, completed } = session;
  const row = {
    ...session,
    flows: JSON.stringify(flows),
    kept: kept === null ? null : JSON.stringify(kept),
    completed: JSON.stringify(completed),
  };
  await tx
    .insertInto("uia_sessions")
    .values(row)
    .onConflict((key) => key.column("session_hash").doUpdateSet(row))
    .execute();
}

/** Removes all but the newest sessions of a user. Index uia_sessions_user. */
export async function removeOldest(tx: Tx, userId: UserId, keep: number): Promise<void> {
  await tx
    .deleteFrom("uia_sessions")
    .where("session_hash", "in", (sub) =>
      sub
        .selectFrom("uia_sessions")
        .select("session_hash")
        .where("user_id", "=", userId)
        .orderBy("expires_ts", "desc")
        .offset(keep),
    )
    .execute();
}

/** Finds a session that has not expired. */
export async function find(
  db: Db,
  sessionHash: Buffer,
  now: number,
): Promise<UiaSession | undefined> {
  return read(await select(db, sessionHash, now).executeTakeFirst());
}

/** The same, and nobody changes it before the transaction ends. */
export async function lock(
  tx: Tx,
  sessionHash: Buffer,
  now: number,
): Promise<UiaSession | undefined> {
  return read(await select(tx, sessionHash, now).forUpdate().executeTakeFirst());
}

/** Ends a session. @returns false where another request was first */
export async function remove(tx: Tx, sessionHash: Buffer): Promise<boolean> {
  const removed = await tx
    .deleteFrom("uia_sessions")
    .where("session_hash", "=", sessionHash)
    .executeTakeFirst();
  return removed.numDeletedRows === 1n;
}

export async function removeExpired(tx: Tx, now: number): Promise<void> {
  await tx.deleteFrom("uia_sessions").where("expires_ts", "<=", now).execute();
}

function select(db: Db, sessionHash: Buffer, now: number) {
  return db
    .selectFrom("uia_sessions")
    .selectAll()
    .where("session_hash", "=", sessionHash)
    .where("expires_ts", ">", now);
}

function read(row: UiaSessionsTable | undefined): UiaSession | undefined {
  return (
    row && {
      ...row,
      flows: JSON.parse(row.flows) as string[][],
      kept: row.kept === null ? null : (JSON.parse(row.kept) as JsonObject),
      completed: JSON.parse(row.completed) as Record<string, JsonObject>,
    }
  );
}
