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

/** Counts the members of rooms and names the first few, by room. Index memberships_summary. */
export async function summarize(
  db: Db,
  roomNids: readonly number[],
  limit: number,
): Promise<Map<number, RoomMembers>> {
  if (roomNids.length === 0) return new Map();
  const members = (membership: "join" | "invite") => sql`
    from memberships m where m.room_nid = r.nid and m.membership = ${membership}`;
  const { rows } = await sql<{
    nid: number;
    joined: number;
    invited: number;
    first: UserId[] | null;
    first_gone: UserId[] | null;
  }>`
    select r.nid,
      (select count(*) ${members("join")}) as joined,
      (select count(*) ${members("invite")}) as invited,
      (select array_agg(user_id order by since, user_id) from (
        (select user_id, since ${members("join")} order by since limit ${limit})
        union all
        (select user_id, since ${members("invite")} order by since limit ${limit})
      ) present) as first,
      case when (select count(*) from (
        (select 1 ${members("join")} limit 2) union all (select 1 ${members("invite")} limit 2)
      ) few) < 2
      then (select array_agg(user_id order by since, user_id) from (
        select user_id, since from memberships m
        where m.room_nid = r.nid and m.membership in ('leave', 'ban') order by since limit ${limit}
      ) gone) end as first_gone
    from unnest(${[...roomNids]}::bigint[]) as r(nid)`.execute(db);
  return new Map(
    rows.map((row) => [
      row.nid,
      {
        joined: row.joined,
        invited: row.invited,
        first: row.first ?? [],
        firstGone: row.first_gone ?? [],
      },
    ]),
  );
}
