/** The members of a room in sum, and of several rooms compared. Table: sql/0002-rooms.sql. */
import { sql } from "kysely";
import type { UserId } from "../spec/identifiers.ts";
import type { Db } from "./database.ts";

export interface RoomMembers {
  joined: number;
  invited: number;
  /** The first who are joined or invited, by stream position. */
  first: UserId[];
  /** The first of the others, where nobody but at most one is joined or invited. */
  firstGone: UserId[];
}

/** Counts a room's members and names the first few. */
export async function summarize(db: Db, roomNid: number, limit: number): Promise<RoomMembers> {
  const { rows } = await sql<{
    joined: number;
    invited: number;
    first: UserId[] | null;
    first_gone: UserId[] | null;
  }>`
    select
      (select count(*) from memberships where room_nid = ${roomNid} and membership = 'join') as joined,
      (select count(*) from memberships where room_nid = ${roomNid} and membership = 'invite') as invited,
      (select array_agg(user_id order by since, user_id) from (
        (select user_id, since from memberships
         where room_nid = ${roomNid} and membership = 'join' order by since limit ${limit})
        union all
        (select user_id, since from memberships
         where room_nid = ${roomNid} and membership = 'invite' order by since limit ${limit})
      ) present) as first,
      case when (select count(*) from (select 1 from memberships
        where room_nid = ${roomNid} and membership in ('join', 'invite') limit 2) few) < 2
      then (select array_agg(user_id order by since, user_id) from (
        select user_id, since from memberships
        where room_nid = ${roomNid} and membership in ('leave', 'ban') order by since limit ${limit}
      ) gone) end as first_gone`.execute(db);
  const [row] = rows;
  return {
    joined: row?.joined ?? 0,
    invited: row?.invited ?? 0,
    first: row?.first ?? [],
    firstGone: row?.first_gone ?? [],
  };
}
