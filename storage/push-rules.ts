/** What users changed of their push rules. Table: sql/0009-push.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

export interface PushRulesRow {
  user_id: UserId;
  rules: string; // JSON, of spec/push-rules.ts
  position: number;
}
export interface PushRuleTables {
  push_rules: PushRulesRow;
}

export async function find(db: Db, userId: UserId): Promise<PushRulesRow | undefined> {
  return db.selectFrom("push_rules").selectAll().where("user_id", "=", userId).executeTakeFirst();
}

/**
 * Sets rules that have not changed since they were read.
 *
 * @param before their position then; undefined where there were none
 * @returns false where they have changed
 */
export async function replace(
  tx: Tx,
  row: PushRulesRow,
  before: number | undefined,
): Promise<boolean> {
  if (before === undefined) {
    const added = await tx
      .insertInto("push_rules")
      .values(row)
      .onConflict((key) => key.column("user_id").doNothing())
      .executeTakeFirst();
    return added.numInsertedOrUpdatedRows === 1n;
  }
  const updated = await tx
    .updateTable("push_rules")
    .set({ rules: row.rules, position: row.position })
    .where("user_id", "=", row.user_id)
    .where("position", "=", before)
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
}

/** What some users set that decides of what they are notified; users who set nothing are left out. */
export async function listSettings(
  db: Db,
  userIds: readonly UserId[],
): Promise<{ user_id: UserId; rules: string | null; ignored: string | null }[]> {
  if (userIds.length === 0) return [];
  const { rows } = await sql<{ user_id: UserId; rules: string | null; ignored: string | null }>`
    select u.user_id, r.rules, d.content as ignored
    from unnest(${[...userIds]}::text[]) as u(user_id)
    left join push_rules r on r.user_id = u.user_id
    left join account_data d on d.user_id = u.user_id and d.room_id = ''
      and d.type = 'm.ignored_user_list'
    where r.rules is not null or d.content is not null`.execute(db);
  return rows;
}
