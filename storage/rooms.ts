/** Rooms, their current state and memberships. Tables: sql/0002-rooms.sql. */
import { sql } from "kysely";
import type { RoomId, ServerName, UserId } from "../spec/identifiers.ts";
import type { Db, Tx } from "./database.ts";

export type Membership = "invite" | "join" | "knock" | "leave" | "ban";

export interface RoomRow {
  nid: number;
  room_id: RoomId;
  room_version: string;
  creator: UserId;
  head_version: number;
  forward_extremities: number[];
  snapshot_nid: number;
  depth: number;
  is_published: boolean;
  created_ts: number;
}

interface StateKeysTable {
  nid: number;
  type: string;
  state_key: string;
}
interface SnapshotsTable {
  nid: number;
  room_nid: number;
  parent_nid: number | null;
  chain_length: number;
  pairs: Buffer;
}
interface CurrentStateTable {
  room_nid: number;
  type: string;
  state_key: string;
  event_nid: number;
}
export interface MembershipRow {
  room_nid: number;
  user_id: UserId;
  membership: Membership;
  event_nid: number;
  sender: UserId;
  is_local: boolean;
  since: number;
  position: number;
  forgotten: boolean;
}
export interface RoomTables {
  rooms: RoomRow;
  state_keys: StateKeysTable;
  snapshots: SnapshotsTable;
  current_state: CurrentStateTable;
  memberships: MembershipRow;
}

export async function findRoom(db: Db, roomId: RoomId): Promise<RoomRow | undefined> {
  const row = await db
    .selectFrom("rooms")
    .selectAll()
    .where("room_id", "=", roomId)
    .executeTakeFirst();
  // `pg` gives the items of a bigint[] as strings.
  return row && { ...row, forward_extremities: row.forward_extremities.map(Number) };
}

/** One user's membership of one room. */
export async function findMembership(
  db: Db,
  roomNid: number,
  userId: UserId,
): Promise<MembershipRow | undefined> {
  return db
    .selectFrom("memberships")
    .selectAll()
    .where("room_nid", "=", roomNid)
    .where("user_id", "=", userId)
    .executeTakeFirst();
}

/** A user's memberships with their rooms, forgotten ones included. Index memberships_user. */
export async function listMembershipsOf(
  db: Db,
  userId: UserId,
): Promise<(MembershipRow & { room_id: RoomId })[]> {
  return db
    .selectFrom("memberships")
    .innerJoin("rooms", "rooms.nid", "memberships.room_nid")
    .selectAll("memberships")
    .select("rooms.room_id")
    .where("user_id", "=", userId)
    .execute();
}

/** The memberships of a room. */
export async function listMembers(
  db: Db,
  roomNid: number,
  which: { membership?: Membership } = {},
): Promise<MembershipRow[]> {
  let query = db.selectFrom("memberships").selectAll().where("room_nid", "=", roomNid);
  if (which.membership !== undefined) query = query.where("membership", "=", which.membership);
  return query.execute();
}

/** Current state but for memberships: `[type, state key, event nid]`. */
export async function listCurrentState(
  db: Db,
  roomNid: number,
): Promise<[string, string, number][]> {
  const rows = await db
    .selectFrom("current_state")
    .select(["type", "state_key", "event_nid"])
    .where("room_nid", "=", roomNid)
    .execute();
  return rows.map((row) => [row.type, row.state_key, row.event_nid]);
}

/** The servers with a joined user in a room, by the user IDs' domains. */
export async function listServers(db: Db, roomNid: number): Promise<ServerName[]> {
  const rows = await db
    .selectFrom("memberships")
    .select(sql<string>`distinct substr(user_id, strpos(user_id, ':') + 1)`.as("server"))
    .where("room_nid", "=", roomNid)
    .where("membership", "=", "join")
    .execute();
  return rows.map((row) => row.server);
}

/** The local users that are joined to a room; index memberships_local. */
export async function listLocalJoined(db: Db, roomNid: number): Promise<UserId[]> {
  const rows = await db
    .selectFrom("memberships")
    .select("user_id")
    .where("room_nid", "=", roomNid)
    .where("is_local", "=", true)
    .where("membership", "=", "join")
    .execute();
  return rows.map((row) => row.user_id);
}

/** Marks a room as forgotten by a user who has left it; a new membership takes the mark away. */
export async function forget(tx: Tx, roomNid: number, userId: UserId): Promise<void> {
  await tx
    .updateTable("memberships")
    .set({ forgotten: true })
    .where("room_nid", "=", roomNid)
    .where("user_id", "=", userId)
    .where("membership", "in", ["leave", "ban"])
    .execute();
}

/** Shows a room in the directory, or no longer. */
export async function setPublished(tx: Tx, roomNid: number, isPublished: boolean): Promise<void> {
  await tx
    .updateTable("rooms")
    .set({ is_published: isPublished })
    .where("nid", "=", roomNid)
    .execute();
}
