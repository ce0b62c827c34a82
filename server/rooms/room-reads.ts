/**
 * Room state as a user may read it: now for who is in the room, as it was for who has left.
 * https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room
 */
import { MatrixError } from "../../spec/errors.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as events from "../../storage/events.ts";
import type { StoredEvent } from "../../storage/events.ts";
import * as rooms from "../../storage/rooms.ts";
import type { EventWriter } from "./event-writer.ts";
import { heldEvent } from "./room-head.ts";
import { placeKey, type StateStore } from "./state-store.ts";

interface Deps {
  writer: EventWriter;
  database: Pick<Database, "db">;
  states: StateStore;
}

/** How a user may read a room's state. */
type Access =
  | { kind: "current"; roomNid: number }
  | { kind: "at"; roomNid: number; snapshotNid: number };

export class RoomReads {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** The whole state. @throws MatrixError M_FORBIDDEN */
  async state(roomId: RoomId, userId: UserId): Promise<StoredEvent[]> {
    const { database, states } = this.#deps;
    const access = await this.#access(roomId, userId);
    if (access.kind === "at") {
      return events.listByNids(database.db, [...(await states.all(access.snapshotNid)).values()]);
    }
    const current = await rooms.listCurrentState(database.db, access.roomNid);
    const members = await rooms.listMembers(database.db, access.roomNid);
    return events.listByNids(database.db, [
      ...current.map(([, , nid]) => nid),
      ...members.map((member) => member.event_nid),
    ]);
  }

  /** The state event at one place. @throws MatrixError M_FORBIDDEN, M_NOT_FOUND */
  async stateEvent(
    roomId: RoomId,
    userId: UserId,
    type: string,
    stateKey: string,
  ): Promise<StoredEvent> {
    const { database, states, writer } = this.#deps;
    const access = await this.#access(roomId, userId);
    let nid: number | undefined;
    if (access.kind === "current") {
      nid = (await (await writer.head(roomId)).stateEvent(type, stateKey))?.nid;
    } else {
      const found = await states.lookup(access.snapshotNid, [{ type, stateKey }]);
      nid = found.get(placeKey(type, stateKey));
    }
    const [event] = nid === undefined ? [] : await events.listByNids(database.db, [nid]);
    if (event === undefined) throw new MatrixError("M_NOT_FOUND", "the room has no such state");
    return event;
  }

  /**
   * The members, now or as they were at a place in the timeline.
   *
   * @throws MatrixError M_FORBIDDEN
   */
  async members(
    roomId: RoomId,
    userId: UserId,
    at: events.TimelineOrder | undefined,
  ): Promise<StoredEvent[]> {
    const { database, states } = this.#deps;
    const access = await this.#access(roomId, userId);
    let snapshotNid = access.kind === "at" ? access.snapshotNid : undefined;
    if (at !== undefined) {
      const after = { position: at.position, offset: at.offset + 1 };
      const [last] = await events.timeline(
        database.db,
        access.roomNid,
        "backward",
        { from: after },
        1,
      );
      const isEarlier = last?.snapshotAfter !== undefined;
      if (isEarlier && access.kind === "current") snapshotNid = last.snapshotAfter;
    }
    if (snapshotNid === undefined) {
      const members = await rooms.listMembers(database.db, access.roomNid);
      return events.listByNids(
        database.db,
        members.map((member) => member.event_nid),
      );
    }
    const state = await states.all(snapshotNid);
    const nids = [...state].flatMap(([place, nid]) =>
      place.startsWith("m.room.member\0") ? [nid] : [],
    );
    return events.listByNids(database.db, nids);
  }

  /** The joined members with their names and avatars. @throws MatrixError M_FORBIDDEN */
  async joinedMembers(
    roomId: RoomId,
    userId: UserId,
  ): Promise<Map<UserId, { displayName: string | undefined; avatarUrl: string | undefined }>> {
    const { database, writer } = this.#deps;
    const head = await writer.findHead(roomId);
    if (head === undefined || (await head.membershipOf(userId)) !== "join") {
      throw new MatrixError("M_FORBIDDEN", "not in the room");
    }
    const members = await rooms.listMembers(database.db, head.nid, { membership: "join" });
    const found = await events.listByNids(
      database.db,
      members.map((member) => member.event_nid),
    );
    return new Map(
      found.map((event) => {
        const { displayname, avatar_url: avatarUrl } = heldEvent(event).pdu.content;
        return [
          event.stateKey as UserId,
          {
            displayName: typeof displayname === "string" ? displayname : undefined,
            avatarUrl: typeof avatarUrl === "string" ? avatarUrl : undefined,
          },
        ];
      }),
    );
  }

  async joinedRooms(userId: UserId): Promise<RoomId[]> {
    const memberships = await rooms.listMembershipsOf(this.#deps.database.db, userId);
    return memberships.flatMap((row) => (row.membership === "join" ? [row.room_id] : []));
  }

  async #access(roomId: RoomId, userId: UserId): Promise<Access> {
    const { database, writer } = this.#deps;
    const head = await writer.findHead(roomId);
    if (head !== undefined) {
      const row = await rooms.findMembership(database.db, head.nid, userId);
      if (row?.membership === "join") return { kind: "current", roomNid: head.nid };
      const visibility = await head.stateContent("m.room.history_visibility");
      if (visibility?.["history_visibility"] === "world_readable") {
        return { kind: "current", roomNid: head.nid };
      }
      if (
        row !== undefined &&
        !row.forgotten &&
        (row.membership === "leave" || row.membership === "ban")
      ) {
        const [left] = await events.listByNids(database.db, [row.event_nid]);
        // Who was only invited has never seen the state.
        const wasJoined =
          left?.snapshotBefore !== undefined &&
          (await this.#membershipAt(left.snapshotBefore, userId)) === "join";
        if (wasJoined && left.snapshotAfter !== undefined) {
          return { kind: "at", roomNid: head.nid, snapshotNid: left.snapshotAfter };
        }
      }
    }
    throw new MatrixError("M_FORBIDDEN", "not in the room");
  }

  async #membershipAt(snapshotNid: number, userId: UserId): Promise<unknown> {
    const { database, states } = this.#deps;
    const found = await states.lookup(snapshotNid, [{ type: "m.room.member", stateKey: userId }]);
    const [event] = await events.listByNids(database.db, [...found.values()]);
    return event === undefined ? undefined : heldEvent(event).pdu.content["membership"];
  }
}
