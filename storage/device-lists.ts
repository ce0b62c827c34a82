/** Whose device lists changed, and for whom. Table: sql/0004-keys.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

interface DeviceListChangesTable {
  user_id: UserId;
  position: number;
}
export interface DeviceListTables {
  device_list_changes: DeviceListChangesTable;
}

/** Notes that a user's devices or cross-signing keys changed. */
export async function noteChange(tx: Tx, userId: UserId, position: number): Promise<void> {
  await tx
    .insertInto("device_list_changes")
    .values({ user_id: userId, position })
    .onConflict((key) => key.column("user_id").doUpdateSet({ position }))
    .execute();
}

/** Those whose device lists changed after a stream position and who share a room with a user, or are it. */
export async function listChanged(db: Db, userId: UserId, after: number): Promise<UserId[]> {
  const { rows } = await sql<{ user_id: UserId }>`
    select user_id from device_list_changes c
    where c.position > ${after} and (c.user_id = ${userId} or ${sharesRoom(userId, sql`c.user_id`)})
    `.execute(db);
  return rows.map((row) => row.user_id);
}

/** Those of some users who are joined to a room that a user is joined to. */
export async function listSharing(
  db: Db,
  userId: UserId,
  candidates: readonly UserId[],
): Promise<UserId[]> {
  if (candidates.length === 0) return [];
  const { rows } = await sql<{ user_id: UserId }>`
    select c.user_id from unnest(${candidates}::text[]) as c (user_id)
    where ${sharesRoom(userId, sql`c.user_id`)}`.execute(db);
  return rows.map((row) => row.user_id);
}

/** Index memberships_user on both sides: the cost is that of the two users' rooms. */
function sharesRoom(userId: UserId, other: ReturnType<typeof sql>) {
  return sql<boolean>`exists (
    select from memberships theirs
    where theirs.user_id = ${other} and theirs.membership = 'join' and theirs.room_nid in (
      select room_nid from memberships where user_id = ${userId} and membership = 'join'))`;
}

/**
 * Others who came to a user's rooms after a stream position or left them, and those in rooms that the
 * user came to or left; of rooms that the user left only what was before that. The crowds of rooms that
 * are not encrypted are left out. Index memberships_since.
 *
 * @param crowd members from which on a room that is not encrypted counts as a crowd
 */
export async function listComersAndGoers(
  db: Db,
  userId: UserId,
  after: number,
  crowd: number,
): Promise<{ came: UserId[]; went: UserId[] }> {
  const { rows } = await sql<{ user_id: UserId; has_come: boolean }>`
    with mine as (
      select room_nid, since, membership = 'join' as is_joined from memberships
      where user_id = ${userId}
        and (membership = 'join' or membership in ('leave', 'ban') and since > ${after})
    ), mine_new as (
      select * from mine where since > ${after} and (
        exists (select from current_state s where s.room_nid = mine.room_nid
          and s.type = 'm.room.encryption' and s.state_key = '')
        or (select count(*) from (
          select from memberships m where m.room_nid = mine.room_nid and m.membership = 'join'
          limit ${crowd}
        ) some_members) < ${crowd})
    )
    select m.user_id, m.membership = 'join' and mine.is_joined as has_come
    from mine join memberships m on m.room_nid = mine.room_nid and m.since > ${after}
    where m.membership in ('join', 'leave', 'ban') and m.user_id <> ${userId}
      and (mine.is_joined or m.since < mine.since)
    union
    select m.user_id, mine_new.is_joined as has_come
    from mine_new join memberships m on m.room_nid = mine_new.room_nid
    where m.membership = 'join' and m.user_id <> ${userId}
      and (mine_new.is_joined or m.since < mine_new.since)`.execute(db);
  return {
    came: rows.filter((row) => row.has_come).map((row) => row.user_id),
    went: rows.filter((row) => !row.has_come).map((row) => row.user_id),
  };
}

/** Those of some members whose membership of a room changed to `join` after a stream position. */
export async function listNewlyJoined(
  db: Db,
  members: readonly { roomNid: number; userId: UserId }[],
  after: number,
): Promise<UserId[]> {
  if (members.length === 0) return [];
  const { rows } = await sql<{ user_id: UserId }>`
    select distinct m.user_id
    from unnest(
      ${members.map((m) => m.roomNid)}::int8[], ${members.map((m) => m.userId)}::text[]
    ) as wanted (room_nid, user_id)
    join memberships m using (room_nid, user_id)
    where m.membership = 'join' and m.since > ${after}`.execute(db);
  return rows.map((row) => row.user_id);
}
