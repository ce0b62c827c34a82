/** Pages of a room's history: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages */
import { MatrixError } from "../../spec/errors.ts";
import type { EventMatcher } from "../../spec/filters.ts";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as events from "../../storage/events.ts";
import type { StoredEvent, TimelineOrder } from "../../storage/events.ts";
import * as storedRelations from "../../storage/relations.ts";
import * as rooms from "../../storage/rooms.ts";
import { placeKey, type StateStore } from "../rooms/rooms.ts";
import type { Timeline } from "./timeline.ts";
import type { VisibleEvent } from "./visibility.ts";

interface Deps {
  database: Pick<Database, "db">;
  states: Pick<StateStore, "lookup" | "all">;
  timeline: Pick<Timeline, "held" | "visibility">;
}

export interface PageQuery {
  direction: "forward" | "backward";
  from?: TimelineOrder | undefined;
  to?: TimelineOrder | undefined;
  limit: number;
  matcher: EventMatcher;
}

export interface Page {
  seen: VisibleEvent[];
  /** Where the next page starts; undefined where there is nothing more to see. */
  end: TimelineOrder | undefined;
}

export interface Context {
  event: VisibleEvent;
  before: VisibleEvent[];
  after: VisibleEvent[];
  start: TimelineOrder;
  end: TimelineOrder;
  /** Undefined where it is not known. */
  stateSnapshot: number | undefined;
}

/** Events looked at for one page, however many of them pass. */
const MAX_SCANNED = 2000;
const BATCH = 100;

export class Pages {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /**
   * A page of what a user may see, as a filter has it: visibility and filter come before the limit.
   *
   * @throws MatrixError M_FORBIDDEN for who may not look into the room
   */
  async messages(roomId: RoomId, reader: UserId, query: PageQuery): Promise<Page> {
    const roomNid = await this.#enter(roomId, reader);
    return this.#read(roomNid, reader, query);
  }

  /** One event. @throws MatrixError M_NOT_FOUND also for what the user may not see */
  async event(roomId: RoomId, reader: UserId, eventId: EventId): Promise<VisibleEvent> {
    const { held, visibility } = this.#deps.timeline;
    const event = (await held.listByIds([eventId])).get(eventId);
    const [seen] = event?.roomId === roomId ? await visibility.check(reader, [event]) : [];
    if (seen === undefined) throw new MatrixError("M_NOT_FOUND", "no such event");
    return seen;
  }

  /** An event and what stands around it. @throws MatrixError M_NOT_FOUND */
  async context(
    roomId: RoomId,
    reader: UserId,
    eventId: EventId,
    query: { limit: number; matcher: EventMatcher },
  ): Promise<Context> {
    const event = await this.event(roomId, reader, eventId);
    const { order } = event.event;
    if (order === undefined) throw new MatrixError("M_NOT_FOUND", "the event is in no timeline");
    const { roomNid } = event.event;
    const half = Math.ceil(query.limit / 2);
    const read = (direction: PageQuery["direction"], limit: number) =>
      limit === 0
        ? Promise.resolve({ seen: [], end: undefined })
        : this.#read(roomNid, reader, { direction, from: order, limit, matcher: query.matcher });
    const before = await read("backward", half);
    const after = await read("forward", query.limit - half);
    const first = before.seen.at(-1)?.event.order ?? order;
    const last = after.seen.at(-1)?.event ?? event.event;
    return {
      event,
      before: before.seen,
      after: after.seen,
      start: first,
      end: last.order ?? order,
      stateSnapshot: last.snapshotAfter,
    };
  }

  /** The member events of some users in a snapshot of state. */
  async membersAt(snapshotNid: number, userIds: Iterable<UserId>): Promise<StoredEvent[]> {
    const places = [...new Set(userIds)].map((stateKey) => ({ type: "m.room.member", stateKey }));
    const found = await this.#deps.states.lookup(snapshotNid, places);
    return [...(await this.#deps.timeline.held.list(found.values())).values()];
  }

  /** The state in a snapshot, without its member events but for those of some users where they are named. */
  async stateAt(snapshotNid: number, only?: Iterable<UserId>): Promise<StoredEvent[]> {
    const state = await this.#deps.states.all(snapshotNid);
    const wanted = only && new Set([...only].map((id) => placeKey("m.room.member", id)));
    const nids = [...state].flatMap(([place, nid]) =>
      wanted !== undefined && place.startsWith("m.room.member\0") && !wanted.has(place)
        ? []
        : [nid],
    );
    return [...(await this.#deps.timeline.held.list(nids)).values()];
  }

  /** Lets in who is or was in the room, and anybody where its history is open to the world. */
  async #enter(roomId: RoomId, reader: UserId): Promise<number> {
    const { database, states, timeline } = this.#deps;
    const room = await rooms.findRoom(database.db, roomId);
    if (room !== undefined) {
      const row = await rooms.findMembership(database.db, room.nid, reader);
      if (row !== undefined && !row.forgotten) return room.nid;
      const place = { type: "m.room.history_visibility", stateKey: "" };
      const found = await states.lookup(room.snapshot_nid, [place]);
      for (const event of (await timeline.held.list(found.values())).values()) {
        if (events.contentOf(event)["history_visibility"] === "world_readable") return room.nid;
      }
    }
    throw new MatrixError("M_FORBIDDEN", "not in the room");
  }

  async #read(roomNid: number, reader: UserId, query: PageQuery): Promise<Page> {
    const { database, timeline } = this.#deps;
    const { direction, to, limit, matcher } = query;
    const seen: VisibleEvent[] = [];
    let { from } = query;
    for (let scanned = 0; scanned < MAX_SCANNED;) {
      const batch = await events.timeline(
        database.db,
        roomNid,
        direction,
        { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) },
        Math.max(BATCH, limit - seen.length + 1),
      );
      const shared = batch.map((event) => timeline.held.shared(event));
      const relations = matcher.asksForRelations
        ? await this.#relationsOf(roomNid, shared)
        : new Map<EventId, { sender: string; relType: string }[]>();
      const visible = new Map(
        (await timeline.visibility.check(reader, shared)).map((each) => [each.event, each]),
      );
      for (const event of shared) {
        scanned += 1;
        from = event.order;
        const each = visible.get(event);
        if (each === undefined) continue;
        const matched = matcher.matches(
          { type: event.type, sender: event.sender, content: events.contentOf(event) },
          relations.get(event.eventId),
        );
        if (!matched) continue;
        seen.push(each);
        if (seen.length === limit) return { seen, end: from };
      }
      if (batch.length < Math.max(BATCH, limit - seen.length + 1)) {
        return { seen, end: undefined };
      }
    }
    return { seen, end: from };
  }

  async #relationsOf(
    roomNid: number,
    parents: readonly StoredEvent[],
  ): Promise<Map<EventId, { sender: string; relType: string }[]>> {
    const ids = parents.map(({ eventId }) => eventId);
    const found = await storedRelations.listKinds(this.#deps.database.db, roomNid, ids);
    return Map.groupBy(found, ({ relatesTo }) => relatesTo);
  }
}
