/**
 * Who may read an event: the one place, applied to every read before its limit.
 * https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
 */
import type { UserId } from "../../spec/identifiers.ts";
import { maySeeEvent, type VisibilityState } from "../../spec/visibility.ts";
import type { Database } from "../../storage/database.ts";
import {
  compareOrder,
  contentOf,
  type StoredEvent,
  type TimelineOrder,
} from "../../storage/events.ts";
import type { Membership } from "../../storage/rooms.ts";
import * as timelines from "../../storage/timelines.ts";
import {
  isShown,
  type Memberships,
  membershipOf,
  type RoomMembership,
} from "../memberships/memberships.ts";
import { placeKey, type StateStore } from "../rooms/rooms.ts";
import type { HeldEvents } from "./held-events.ts";
import type { IgnoredUsers } from "./ignored-users.ts";

/** An event that its reader may see. */
export interface VisibleEvent {
  event: StoredEvent;
  /** The reader's membership at the event, its own effect included. */
  membership: Membership;
}

/** A time in which a user was joined to a room: from the join to the event that ended it. */
export interface Stay {
  from: TimelineOrder;
  until: TimelineOrder;
}

/** Member events of one user and room that are looked through for the last time in the room. */
const MEMBER_EVENTS = 100;
const HISTORY_VISIBILITY = { type: "m.room.history_visibility", stateKey: "" };

export interface VisibilityDeps {
  database: Pick<Database, "db">;
  memberships: Pick<Memberships, "load">;
  states: Pick<StateStore, "prefetch" | "lookup">;
  held: Pick<HeldEvents, "list">;
  ignored: Pick<IgnoredUsers, "of">;
}

type State = VisibilityState & { membership: Membership | undefined };
/** The state before a room's create event. */
const NO_STATE: State = { historyVisibility: undefined, membership: undefined };

export class Visibility {
  readonly #deps: VisibilityDeps;
  /** By the present membership. */
  readonly #lastStays = new WeakMap<RoomMembership, Promise<Stay | undefined>>();

  constructor(deps: VisibilityDeps) {
    this.#deps = deps;
  }

  /**
   * The events that a user may see, in the order given.
   *
   * What is not known is hidden, as are messages of users that the reader ignores.
   */
  async visibleTo(userId: UserId, events: readonly StoredEvent[]): Promise<StoredEvent[]> {
    return (await this.check(userId, events)).map(({ event }) => event);
  }

  /** The same, with the reader's membership at each event. */
  async check(userId: UserId, events: readonly StoredEvent[]): Promise<VisibleEvent[]> {
    const user = await this.#deps.memberships.load(userId);
    const ignored = await this.#deps.ignored.of(userId);
    const visible: (VisibleEvent | undefined)[] = [];
    const unclear: { at: number; event: StoredEvent; now: RoomMembership | undefined }[] = [];
    for (const event of events) {
      if (!isShown(event)) continue;
      if (event.stateKey === undefined && ignored.has(event.sender)) continue;
      const now = user.rooms.get(event.roomId);
      const { position } = event;
      if (now?.membership === "join" && position !== undefined && position >= now.since) {
        visible.push({ event, membership: "join" });
      } else unclear.push({ at: visible.push(undefined) - 1, event, now });
    }
    if (unclear.length > 0) {
      const states = new States(userId, this.#deps);
      await states.load(unclear.map(({ event }) => event));
      for (const { at, event, now } of unclear) {
        const { before, after } = states.around(event, now?.isForgotten === true);
        const hasJoinedSince = await this.#hasJoinedSince(userId, event, now);
        if (maySeeEvent({ before, after, hasJoinedSince })) {
          visible[at] = { event, membership: (after ?? before)?.membership ?? "leave" };
        }
      }
    }
    return visible.filter((seen) => seen !== undefined);
  }

  async #hasJoinedSince(
    userId: UserId,
    { order }: StoredEvent,
    now: RoomMembership | undefined,
  ): Promise<boolean> {
    if (now === undefined || now.isForgotten || order === undefined) return false;
    if (now.membership === "join") return true;
    const stay = await this.lastStay(userId, now);
    return stay !== undefined && compareOrder(order, stay.until) < 0;
  }

  /** The last time that a user who is not joined to a room now was; undefined for never. */
  lastStay(userId: UserId, now: RoomMembership): Promise<Stay | undefined> {
    let stay = this.#lastStays.get(now);
    if (stay === undefined) {
      stay = this.#findLastStay(userId, now.roomNid);
      this.#lastStays.set(now, stay);
      stay.catch(() => this.#lastStays.delete(now));
    }
    return stay;
  }

  async #findLastStay(userId: UserId, roomNid: number): Promise<Stay | undefined> {
    const { db } = this.#deps.database;
    const changes = await timelines.listMemberEvents(db, roomNid, userId, MEMBER_EVENTS);
    const memberships = changes.map(membershipOf);
    const last = memberships.indexOf("join");
    if (last < 1) return undefined;
    let first = last;
    while (memberships[first + 1] === "join") first += 1;
    const from = changes[first]?.order;
    const until = changes[last - 1]?.order;
    return from === undefined || until === undefined ? undefined : { from, until };
  }
}

/** What visibility depends on of some snapshots of room state, for one user. */
class States {
  readonly #userId: UserId;
  readonly #deps: Pick<VisibilityDeps, "states" | "held">;
  readonly #bySnapshot = new Map<number, State>();

  constructor(userId: UserId, deps: Pick<VisibilityDeps, "states" | "held">) {
    this.#userId = userId;
    this.#deps = deps;
  }

  async load(events: readonly StoredEvent[]): Promise<void> {
    const member = { type: "m.room.member", stateKey: this.#userId };
    const snapshots = new Set(events.flatMap((event) => this.#snapshotsOf(event)));
    await this.#deps.states.prefetch(snapshots);
    const nids = new Map<number, { visibility: number | undefined; member: number | undefined }>();
    await Promise.all(
      [...snapshots].map(async (snapshot) => {
        const found = await this.#deps.states.lookup(snapshot, [HISTORY_VISIBILITY, member]);
        nids.set(snapshot, {
          visibility: found.get(placeKey(HISTORY_VISIBILITY.type, "")),
          member: found.get(placeKey(member.type, member.stateKey)),
        });
      }),
    );
    const needed = [...nids.values()].flatMap((state) => [state.visibility, state.member]);
    const held = await this.#deps.held.list(needed.filter((nid) => nid !== undefined));
    for (const [snapshot, state] of nids) {
      const visibility = state.visibility === undefined ? undefined : held.get(state.visibility);
      const membership = state.member === undefined ? undefined : held.get(state.member);
      this.#bySnapshot.set(snapshot, {
        historyVisibility: visibility && settingOf(visibility),
        membership: membership && membershipOf(membership),
      });
    }
  }

  /** @param isForgotten the user gave up what was seen as a member */
  around(
    event: StoredEvent,
    isForgotten: boolean,
  ): { before: State | undefined; after: State | undefined } {
    const stateAt = (snapshot: number | undefined): State | undefined => {
      const state = snapshot === undefined ? undefined : this.#bySnapshot.get(snapshot);
      return state !== undefined && isForgotten ? { ...state, membership: "leave" } : state;
    };
    const before = isFirst(event) ? NO_STATE : stateAt(event.snapshotBefore);
    if (!this.#changesVisibility(event)) return { before, after: before };
    return { before, after: stateAt(event.snapshotAfter) };
  }

  /** The state after an event counts for changes of the visibility and of the user's own membership. */
  #changesVisibility({ type, stateKey }: StoredEvent): boolean {
    return (
      (type === HISTORY_VISIBILITY.type && stateKey === "") ||
      (type === "m.room.member" && stateKey === this.#userId)
    );
  }

  #snapshotsOf(event: StoredEvent): number[] {
    const snapshots = this.#changesVisibility(event)
      ? [event.snapshotBefore, event.snapshotAfter]
      : [event.snapshotBefore];
    return snapshots.filter((snapshot) => snapshot !== undefined);
  }
}

/** A room's create event, before which there is no state; other events without one are outliers. */
function isFirst({ type, stateKey, snapshotBefore, snapshotAfter }: StoredEvent): boolean {
  return (
    type === "m.room.create" &&
    stateKey === "" &&
    snapshotBefore === undefined &&
    snapshotAfter !== undefined
  );
}

/** What cannot be read hides as much as a setting can. */
function settingOf(event: StoredEvent): unknown {
  try {
    return contentOf(event)["history_visibility"];
  } catch {
    return "joined";
  }
}
