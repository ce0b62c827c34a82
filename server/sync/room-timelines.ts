/** The timelines of rooms in an answer: what their reader may see, passes the filter and fits the limit. */
import type { UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as events from "../../storage/events.ts";
import { type StoredEvent, type TimelineOrder } from "../../storage/events.ts";
import * as timelines from "../../storage/timelines.ts";
import { isShown, type RoomMembership } from "../memberships/memberships.ts";
import type { Timeline, VisibleEvent } from "../timeline/timeline.ts";
import type { SyncFilter } from "./sync-filter.ts";

/** A room that an answer tells of, as a joined or as a left one. */
export interface RoomTask {
  membership: RoomMembership;
  section: "join" | "leave";
  /** What is news: everything after this position; undefined: everything. */
  after: number | undefined;
  /** The end: the window's, or where the user left. */
  upTo: number;
  /** Whether the whole state is sent, and not what changed. */
  hasFullState: boolean;
  /** Only that the user is out is told, and nothing of the room. */
  isBare: boolean;
  /** All events in `(after, upTo]`, where they are known. */
  events: readonly StoredEvent[] | undefined;
}

export interface RoomTimeline {
  shown: readonly VisibleEvent[];
  isLimited: boolean;
  /** Reading backward from here gives what came before. */
  previous: TimelineOrder;
  /** The events that were read, shown or not: those of the part from some place on. */
  all: readonly StoredEvent[];
  /** Whether these go back to the part's beginning. */
  isComplete: boolean;
}

/** Events read at a time where a filter or the visibility leaves too few. */
const PAGE = 100;
/** How often more is read before the client is left to ask for it. */
const MAX_PAGES = 5;

export class RoomTimelines {
  readonly #db: Database["db"];
  readonly #timeline: Pick<Timeline, "held" | "visibility">;

  constructor(database: Pick<Database, "db">, timeline: Pick<Timeline, "held" | "visibility">) {
    this.#db = database.db;
    this.#timeline = timeline;
  }

  /** The timelines of rooms, in their order. */
  async list(
    userId: UserId,
    tasks: readonly RoomTask[],
    filter: SyncFilter,
  ): Promise<RoomTimeline[]> {
    const found = await this.#newest(tasks, filter.timeline.limit + 1);
    const seen = await this.#see(
      userId,
      found.flatMap(({ events: of }) => of),
      filter,
    );
    return Promise.all(
      tasks.map(async (task, i) => {
        const part = found[i] ?? { events: [], isComplete: true };
        if (task.isBare) return bareTimeline(task, part.events);
        return this.#fill(userId, task, part, seen, filter);
      }),
    );
  }

  /** The newest events of each room's part, oldest first, and whether these are all. */
  async #newest(
    tasks: readonly RoomTask[],
    limit: number,
  ): Promise<{ events: StoredEvent[]; isComplete: boolean }[]> {
    const unknown = tasks.filter(({ events: of }) => of === undefined);
    const nids = await timelines.listNewest(
      this.#db,
      unknown.map(({ membership: { roomNid }, after, upTo }) => ({ roomNid, after, upTo })),
      limit,
    );
    const held = await this.#timeline.held.list([...nids.values()].flat());
    return tasks.map(({ membership: { roomNid }, events: of, upTo }) => {
      if (of !== undefined) {
        const within = of.filter((e) => isShown(e) && (e.position ?? Infinity) <= upTo);
        return { events: within, isComplete: true };
      }
      const newest = nids.get(roomNid) ?? [];
      return {
        events: newest.map((nid) => held.get(nid)).filter((event) => event !== undefined),
        isComplete: newest.length < limit,
      };
    });
  }

  /** What passes the filter and the reader may see, by event. */
  async #see(
    userId: UserId,
    of: readonly StoredEvent[],
    filter: SyncFilter,
  ): Promise<Map<StoredEvent, VisibleEvent>> {
    const matching = of.filter((event) => filter.timeline.matches(event));
    if (matching.length === 0) return new Map();
    const visible = await this.#timeline.visibility.check(userId, matching);
    return new Map(visible.map((seen) => [seen.event, seen]));
  }

  async #fill(
    userId: UserId,
    task: RoomTask,
    part: { events: StoredEvent[]; isComplete: boolean },
    firstSeen: ReadonlyMap<StoredEvent, VisibleEvent>,
    filter: SyncFilter,
  ): Promise<RoomTimeline> {
    const { limit } = filter.timeline;
    let { events: all, isComplete } = part;
    let shown = all.flatMap((event) => firstSeen.get(event) ?? []);
    for (let page = 0; !isComplete && shown.length <= limit && page < MAX_PAGES; page += 1) {
      const older = await this.#older(task, all[0]?.order);
      isComplete = older.length < PAGE;
      all = [...older, ...all];
      const seen = await this.#see(userId, older, filter);
      shown = [...older.flatMap((event) => seen.get(event) ?? []), ...shown];
    }
    const isLimited = shown.length > limit || !isComplete;
    shown = shown.slice(-limit);
    const end: TimelineOrder = { position: task.upTo, offset: 1 };
    const previous = shown[0]?.event.order ?? (isComplete ? end : all[0]?.order) ?? end;
    return { shown, isLimited, previous, all, isComplete };
  }

  async #older(task: RoomTask, from: TimelineOrder | undefined): Promise<StoredEvent[]> {
    if (from === undefined) return [];
    const { membership, after } = task;
    const to = after === undefined ? {} : { to: { position: after, offset: 1 } };
    const older = await events.timeline(
      this.#db,
      membership.roomNid,
      "backward",
      { from, ...to },
      PAGE,
    );
    return older.map((event) => this.#timeline.held.shared(event)).reverse();
  }
}

/** The user's own member event, by which the room is gone, and nothing else. */
function bareTimeline({ membership, upTo }: RoomTask, all: readonly StoredEvent[]): RoomTimeline {
  const own = all.filter(({ nid }) => nid === membership.eventNid);
  return {
    shown: own.map((event) => ({ event, membership: membership.membership })),
    isLimited: false,
    previous: own[0]?.order ?? { position: upTo, offset: 1 },
    all: own,
    isComplete: true,
  };
}
