/** The state in an answer: what a client needs beside the timeline to know a room's state. */
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import type { StoredEvent } from "../../storage/events.ts";
import type { Place } from "../../storage/state-keys.ts";
import * as timelines from "../../storage/timelines.ts";
import { type PlaceKey, placeKey, type StateStore } from "../rooms/rooms.ts";
import type { HeldEvents } from "../timeline/timeline.ts";
import type { SentMembers } from "./lazy-members.ts";
import type { RoomTask, RoomTimeline } from "./room-timelines.ts";
import type { SyncFilter } from "./sync-filter.ts";

export type SnapshotReads = Pick<StateStore, "prefetch" | "lookup" | "all" | "changes">;

/** A room with what the answer already says of it. */
export interface ToldRoom {
  task: RoomTask;
  timeline: RoomTimeline;
  heroes: readonly UserId[];
}

export interface StateOptions {
  reader: UserId;
  filter: SyncFilter;
  /** The state at the end of the timeline, and not at its start. */
  isAfter: boolean;
  sent: SentMembers;
}

type StateMap = ReadonlyMap<PlaceKey, number>;

export class RoomStates {
  readonly #db: Database["db"];
  readonly #states: SnapshotReads;
  readonly #held: Pick<HeldEvents, "list">;

  constructor(
    database: Pick<Database, "db">,
    states: SnapshotReads,
    held: Pick<HeldEvents, "list">,
  ) {
    this.#db = database.db;
    this.#states = states;
    this.#held = held;
  }

  /** The state events to send for rooms, in their order. */
  async list(rooms: readonly ToldRoom[], options: StateOptions): Promise<StoredEvent[][]> {
    const context = await this.#context(rooms, options);
    const wanted = await Promise.all(rooms.map((room) => this.#select(room, options, context)));
    const held = await this.#held.list(wanted.flatMap((nids) => [...nids]));
    const { reader, filter, sent } = options;
    return rooms.map(({ task, timeline }, i) => {
      const chosen = [...(wanted[i] ?? [])]
        .map((nid) => held.get(nid))
        .filter((event) => event !== undefined && filter.state.matches(event))
        .filter((event) => event !== undefined);
      if (filter.isLazy) {
        for (const event of [...chosen, ...timeline.shown.map((seen) => seen.event)]) {
          if (event.type === "m.room.member" && event.stateKey !== undefined) {
            sent.add(task.membership.roomId, event.stateKey as UserId);
          }
        }
        if (task.hasFullState) sent.add(task.membership.roomId, reader);
      }
      return chosen;
    });
  }

  /** What is read for all rooms at once: snapshots where no event tells them, places of full states. */
  async #context(rooms: readonly ToldRoom[], { filter }: StateOptions): Promise<Context> {
    const parts: timelines.Part[] = [];
    const sinceParts: timelines.Part[] = [];
    const full: number[] = [];
    for (const room of rooms) {
      const { task, timeline } = room;
      if (task.isBare) continue;
      const { roomNid } = task.membership;
      if (timeline.all.length === 0 && task.hasFullState) {
        parts.push({ roomNid, upTo: task.upTo });
      }
      if (task.hasFullState) {
        if (filter.isLazy) full.push(roomNid);
      } else if (task.after !== undefined && !isChain(timeline)) {
        sinceParts.push({ roomNid, upTo: task.after });
      }
    }
    const [at, since, places] = await Promise.all([
      timelines.listSnapshotsAt(this.#db, parts),
      timelines.listSnapshotsAt(this.#db, sinceParts),
      timelines.listPlaces(this.#db, full),
    ]);
    const snapshots = rooms.flatMap(({ task, timeline }) => {
      if (task.isBare || (!task.hasFullState && isChain(timeline))) return [];
      const { roomNid } = task.membership;
      const { start, end } = spanOf(timeline, at.get(roomNid));
      return [start, end, since.get(roomNid)].filter((snapshot) => snapshot !== undefined);
    });
    await this.#states.prefetch(snapshots);
    return { at, since, places };
  }

  async #select(room: ToldRoom, options: StateOptions, context: Context): Promise<Set<number>> {
    const { task, timeline } = room;
    const nids = new Set<number>();
    if (task.isBare) return nids;
    const { roomNid, roomId } = task.membership;
    const { start, end } = spanOf(timeline, context.at.get(roomNid));
    const { before, after } = task.hasFullState
      ? await this.#fullState(room, { start, end }, options, context)
      : await this.#changedState(room, { start, end }, context.since.get(roomNid));
    const shownPlaces = new Set(
      timeline.shown.map(({ event }) => placeOf(event)).filter((place) => place !== undefined),
    );
    for (const [place, nid] of after) {
      if (options.isAfter || !shownPlaces.has(place)) nids.add(nid);
    }
    if (!options.isAfter) {
      // Where the timeline shows a change, the client needs what was there before it.
      for (const [place, nid] of before) if (shownPlaces.has(place)) nids.add(nid);
    }
    if (options.filter.isLazy) {
      const at = options.isAfter ? end : start;
      for (const nid of await this.#neededMembers(roomId, at, room, options)) nids.add(nid);
    }
    return nids;
  }

  /** The whole state at the start of the timeline, and at its end. */
  async #fullState(
    { task }: ToldRoom,
    { start, end }: Span,
    { filter }: StateOptions,
    context: Context,
  ): Promise<Change> {
    const places = filter.isLazy ? (context.places.get(task.membership.roomNid) ?? []) : undefined;
    const read = async (snapshot: number | undefined): Promise<StateMap> => {
      if (snapshot === undefined) return new Map();
      return places === undefined
        ? this.#states.all(snapshot)
        : this.#states.lookup(snapshot, places);
    };
    const after = await read(end);
    return { before: start === end ? after : await read(start), after };
  }

  /** What changed since the last answer: up to the start of the timeline, and up to its end. */
  async #changedState(
    { timeline }: ToldRoom,
    { start, end }: Span,
    since: number | undefined,
  ): Promise<Change> {
    if (isChain(timeline)) return changesOf(timeline);
    if (since === undefined || end === undefined) return { before: new Map(), after: new Map() };
    const after = await this.#states.changes(since, end);
    if (start === undefined) return { before: new Map(), after };
    return { before: start === end ? after : await this.#states.changes(since, start), after };
  }

  /** Member events that lazy loading needs: of the senders shown, and for a new room of who stands for it. */
  async #neededMembers(
    roomId: RoomId,
    snapshot: number | undefined,
    { task, timeline, heroes }: ToldRoom,
    { reader, filter, sent }: StateOptions,
  ): Promise<Iterable<number>> {
    if (snapshot === undefined) return [];
    const needed = new Set<UserId>(timeline.shown.map(({ event }) => event.sender));
    for (const hero of heroes) needed.add(hero);
    if (task.hasFullState) needed.add(reader);
    const places: Place[] = [];
    for (const userId of needed) {
      const isRedundant =
        !filter.hasRedundantMembers && !task.hasFullState && sent.has(roomId, userId);
      if (isRedundant) continue;
      places.push({ type: "m.room.member", stateKey: userId });
      sent.add(roomId, userId);
    }
    if (places.length === 0) return [];
    return (await this.#states.lookup(snapshot, places)).values();
  }
}

interface Span {
  start: number | undefined;
  end: number | undefined;
}
interface Change {
  before: StateMap;
  after: StateMap;
}
interface Context {
  /** Snapshots at the rooms' ends. */
  at: ReadonlyMap<number, number>;
  /** Snapshots at the time of the last answer. */
  since: ReadonlyMap<number, number>;
  places: ReadonlyMap<number, readonly Place[]>;
}

/** The snapshots before the first event that is shown, and after the last that was read. */
function spanOf({ all, shown }: RoomTimeline, now: number | undefined): Span {
  const end = all.at(-1)?.snapshotAfter ?? now;
  const first = shown[0]?.event;
  return { start: first === undefined ? end : first.snapshotBefore, end };
}

function placeOf({ type, stateKey }: StoredEvent): PlaceKey | undefined {
  return stateKey === undefined ? undefined : placeKey(type, stateKey);
}

/**
 * Whether the events since the last answer are all known, each built on the one before, so that they
 * alone say what changed. They do not where the room forked and state resolution decided.
 */
function isChain({ all, isComplete }: RoomTimeline): boolean {
  if (!isComplete) return false;
  return all.every((event, i) => i === 0 || event.snapshotBefore === all[i - 1]?.snapshotAfter);
}

function changesOf({ all, shown }: RoomTimeline): Change {
  const first = shown[0]?.event;
  const before = new Map<PlaceKey, number>();
  const after = new Map<PlaceKey, number>();
  let isStarted = false;
  for (const event of all) {
    isStarted ||= event === first;
    const place = placeOf(event);
    if (place === undefined) continue;
    after.set(place, event.nid);
    if (!isStarted) before.set(place, event.nid);
  }
  return { before, after };
}
