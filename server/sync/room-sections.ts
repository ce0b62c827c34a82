/** `rooms` of an answer: which rooms it tells of, and what of each. */
import type { RoomId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import type { JsonWriter } from "../json-writer.ts";
import type { ActiveUser, RoomMembership } from "../memberships/memberships.ts";
import { type Timeline, type Viewer, writeTimelineToken } from "../timeline/timeline.ts";
import type { Turnstile } from "./bells.ts";
import { ephemeralEvents } from "./ephemeral-events.ts";
import type { SentMembers } from "./lazy-members.ts";
import type { AccountDatum, Receipt, Receipts, RoomUnread, Unread } from "./ports.ts";
import { RoomStates, type SnapshotReads } from "./room-states.ts";
import { type RoomTask, type RoomTimeline, RoomTimelines } from "./room-timelines.ts";
import { StrippedStates } from "./stripped-state.ts";
import type { RoomSummary, Summaries } from "./summaries.ts";
import type { SyncFilter } from "./sync-filter.ts";
import type { Window } from "./window.ts";

/** What is asked, once it is understood. */
export interface RoomsRequest {
  user: ActiveUser;
  viewer: Viewer;
  filter: SyncFilter;
  /** Undefined for a first sync. */
  window: Window | undefined;
  upTo: number;
  /** The user's memberships at the end of the window. */
  memberships: ReadonlyMap<RoomId, RoomMembership>;
  isFullState: boolean;
  /** The name of the member that carries the state: that at the timeline's end, where it is no `state`. */
  stateName: "state" | "state_after" | "org.matrix.msc4222.state_after";
  sent: SentMembers;
  /** Account data of rooms, where it is not the window's. */
  accountData: ReadonlyMap<RoomId, readonly AccountDatum[]>;
  /** Rooms whose typing users are to be told, with them. */
  typing: ReadonlyMap<RoomId, readonly string[]>;
}

export interface RoomSectionsDeps {
  database: Pick<Database, "db">;
  states: SnapshotReads;
  timeline: Timeline;
  summaries: Summaries;
  receipts: Receipts;
  unread: Unread;
  turnstile: Pick<Turnstile, "pass">;
}

/** How long an answer waits for the unread counts that belong to it. */
const COUNTS_PATIENCE_MS = 5000;
/** Rooms that are read together: of a first answer, where each brings its state, and of others. */
const FULL_CHUNK = 50;
const CHUNK = 500;

interface Written {
  isEmpty: boolean;
}

export class RoomSections {
  readonly #deps: RoomSectionsDeps;
  readonly #timelines: RoomTimelines;
  readonly #states: RoomStates;
  readonly #stripped: StrippedStates;

  constructor(deps: RoomSectionsDeps) {
    this.#deps = deps;
    const { database, states, timeline } = deps;
    this.#timelines = new RoomTimelines(database, timeline);
    this.#states = new RoomStates(database, states, timeline.held);
    this.#stripped = new StrippedStates(database, states, timeline.held);
  }

  /** Writes the member `rooms`. */
  async write(out: JsonWriter, request: RoomsRequest): Promise<Written> {
    const plan = await this.#plan(request);
    const rooms: Record<"join" | "leave", Room[]> = { join: [], leave: [] };
    const chunk = request.window === undefined || request.isFullState ? FULL_CHUNK : CHUNK;
    for (let i = 0; i < plan.tasks.length; i += chunk) {
      for (const room of await this.#tell(plan.tasks.slice(i, i + chunk), request)) {
        rooms[room.task.section].push(room);
      }
    }
    out.add('"rooms":{"join":{');
    out.list(rooms.join, (room) => this.#writeRoom(out, room, request));
    out.add('},"invite":{');
    await this.#writeStripped(out, plan.invites, "invite_state");
    out.add('},"knock":{');
    await this.#writeStripped(out, plan.knocks, "knock_state");
    out.add('},"leave":{');
    out.list(rooms.leave, (room) => this.#writeRoom(out, room, request));
    out.add("}}");
    const count = rooms.join.length + rooms.leave.length + plan.invites.length + plan.knocks.length;
    return { isEmpty: count === 0 };
  }

  /** Sorts rooms into sections. */
  async #plan(request: RoomsRequest): Promise<{
    tasks: RoomTask[];
    invites: RoomMembership[];
    knocks: RoomMembership[];
  }> {
    const { window, filter, isFullState } = request;
    const tasks: RoomTask[] = [];
    const invites: RoomMembership[] = [];
    const knocks: RoomMembership[] = [];
    const ignored = await this.#deps.timeline.ignored.of(request.user.userId);
    const since = isFullState || window === undefined ? undefined : window.since;
    const isAll = since === undefined || window?.isCovered === false;
    const candidates = isAll
      ? request.memberships.values()
      : [...(window?.rooms.keys() ?? []), ...request.typing.keys()].flatMap(
          (roomId) => request.memberships.get(roomId) ?? [],
        );
    for (const membership of new Set(candidates)) {
      const { roomId } = membership;
      if (!filter.includesRoom(roomId)) continue;
      switch (membership.membership) {
        case "join":
          tasks.push(joinTask(membership, request));
          break;
        case "invite":
          if (ignored.has(membership.sender)) break;
          if (since === undefined || membership.position > since) invites.push(membership);
          break;
        case "knock":
          if (since === undefined || membership.position > since) knocks.push(membership);
          break;
        case "leave":
        case "ban": {
          const task = await this.#leaveTask(membership, request);
          if (task !== undefined) tasks.push(task);
        }
      }
    }
    return { tasks, invites, knocks };
  }

  /** A room that was left: up to where the user was in it, and never further. */
  async #leaveTask(
    membership: RoomMembership,
    { user, window, filter, isFullState }: RoomsRequest,
  ): Promise<RoomTask | undefined> {
    const isNews = window !== undefined && membership.since > window.since;
    if (!isNews && (!filter.includesLeft || (window !== undefined && !isFullState)))
      return undefined;
    if (membership.isForgotten && !isNews) return undefined;
    const bare: RoomTask = {
      membership,
      section: "leave",
      after: undefined,
      upTo: membership.position,
      hasFullState: false,
      isBare: true,
      events: undefined,
    };
    if (membership.isForgotten) return bare;
    const stay = await this.#deps.timeline.visibility.lastStay(user.userId, membership);
    if (stay === undefined) return isNews ? bare : undefined;
    const { position: upTo } = stay.until;
    if (window === undefined || isFullState || !isNews) {
      return { ...bare, upTo, hasFullState: true, isBare: false };
    }
    if (upTo <= window.since) return bare;
    if (stay.from.position > window.since) {
      return { ...bare, upTo, hasFullState: true, isBare: false };
    }
    const events = window.rooms.get(membership.roomId)?.events;
    return { ...bare, after: window.since, upTo, isBare: false, events };
  }

  /** Reads what is to be said of some rooms, and leaves out those of which there is nothing to say. */
  async #tell(tasks: readonly RoomTask[], request: RoomsRequest): Promise<Room[]> {
    const { user, viewer, filter, window, stateName, sent } = request;
    const timelines = await this.#timelines.list(user.userId, tasks, filter);
    const summaries = await this.#deps.summaries.list(
      tasks
        .filter((task, i) => hasNewSummary(task, timelines[i], window))
        .map(({ membership }) => membership),
      user.userId,
    );
    const told = tasks.flatMap((task, i) => {
      const timeline = timelines[i];
      if (timeline === undefined) return [];
      const summary = summaries.get(task.membership.roomId);
      return [{ task, timeline, heroes: summary?.heroes ?? [], summary }];
    });
    const states = await this.#states.list(told, {
      reader: user.userId,
      filter,
      isAfter: stateName !== "state",
      sent,
    });
    const ephemeral = await this.#ephemeral(tasks, request);
    const rooms = told
      .map((room, i) => {
        const { roomId } = room.task.membership;
        const accountData = (
          request.accountData.get(roomId) ??
          window?.rooms.get(roomId)?.accountData ??
          []
        ).filter(
          ({ type }) =>
            filter.roomAccountData.matches({ type }) && filter.roomAccountData.matchesRoom(roomId),
        );
        return {
          ...room,
          state: states[i] ?? [],
          ephemeral: ephemeral.events.get(roomId) ?? [],
          hasOwnReceipt: ephemeral.ownReceipts.has(roomId),
          accountData,
        };
      })
      .filter((room) => isWorthTelling(room, request));
    const render = { viewer, hasRoomId: false, format: filter.format, prune: filter.prune };
    const { clientEvents } = this.#deps.timeline;
    const [written, writtenStates, bundled, unread] = await Promise.all([
      clientEvents.render(
        rooms.flatMap(({ timeline }) => (timeline.isLimited ? [] : timeline.shown)),
        render,
      ),
      clientEvents.render(
        rooms.flatMap(({ state }) => state),
        { ...render, hasPrevious: false },
      ),
      clientEvents.render(
        rooms.flatMap(({ timeline }) => (timeline.isLimited ? timeline.shown : [])),
        { ...render, hasBundles: true },
      ),
      this.#unread(rooms, request),
    ]);
    let at = 0;
    let stateAt = 0;
    let bundledAt = 0;
    return rooms.map(({ timeline, state, ...room }) => {
      const { isLimited } = timeline;
      const count = timeline.shown.length;
      const events = isLimited
        ? bundled.slice(bundledAt, (bundledAt += count))
        : written.slice(at, (at += count));
      return {
        ...room,
        isLimited,
        previous: writeTimelineToken(timeline.previous),
        events,
        state: writtenStates.slice(stateAt, (stateAt += state.length)),
        unread: unread.get(room.task.membership.roomId),
      };
    });
  }

  async #ephemeral(
    tasks: readonly RoomTask[],
    { user, filter, window, typing }: RoomsRequest,
  ): Promise<{ events: Map<RoomId, unknown[]>; ownReceipts: Set<RoomId> }> {
    const receipts = new Map<RoomId, readonly Receipt[]>();
    const fresh: RoomId[] = [];
    for (const { section, membership, after } of tasks) {
      if (section !== "join") continue;
      const { roomId } = membership;
      if (after === undefined || window === undefined) fresh.push(roomId);
      else receipts.set(roomId, window.rooms.get(roomId)?.receipts ?? []);
    }
    const events = new Map<RoomId, unknown[]>();
    const ownReceipts = new Set<RoomId>();
    if (fresh.length > 0) {
      for (const receipt of await this.#deps.receipts.list(fresh, user.userId)) {
        const known = receipts.get(receipt.roomId);
        receipts.set(receipt.roomId, known === undefined ? [receipt] : [...known, receipt]);
      }
    }
    for (const { section, membership } of tasks) {
      if (section !== "join") continue;
      const { roomId } = membership;
      const own = receipts.get(roomId) ?? [];
      if (own.some(({ userId }) => userId === user.userId)) ownReceipts.add(roomId);
      events.set(roomId, ephemeralEvents(roomId, own, typing.get(roomId), filter.ephemeral));
    }
    return { events, ownReceipts };
  }

  /** Unread counts that take account of what the answer tells. */
  async #unread(
    rooms: readonly { task: RoomTask }[],
    { user, upTo }: RoomsRequest,
  ): Promise<ReadonlyMap<RoomId, RoomUnread>> {
    const joined = rooms.filter(({ task }) => task.section === "join");
    if (joined.length === 0) return new Map();
    const { unread, turnstile } = this.#deps;
    if (unread.position < upTo) {
      // Counts that come late are better than no answer.
      await unread.reached(upTo, AbortSignal.timeout(COUNTS_PATIENCE_MS)).catch(() => undefined);
      await turnstile.pass();
    }
    return unread.counts(
      user.userId,
      joined.map(({ task }) => task.membership.roomId),
    );
  }

  async #writeStripped(
    out: JsonWriter,
    memberships: readonly RoomMembership[],
    name: "invite_state" | "knock_state",
  ): Promise<void> {
    const states = await this.#stripped.list(memberships);
    out.list(memberships.entries(), ([i, { roomId }]) => {
      out.value(roomId).add(`:{"${name}":{"events":`);
      out.value(states[i] ?? []).add("}}");
    });
  }

  #writeRoom(out: JsonWriter, room: Room, { stateName, filter }: RoomsRequest): void {
    const { task, summary } = room;
    const events = (items: readonly Uint8Array[]): JsonWriter =>
      out.list(items, (item) => out.add(item));
    out.value(task.membership.roomId).add(":{");
    if (summary !== undefined && task.section === "join") {
      out.add('"summary":').value({
        "m.heroes": summary.heroes,
        "m.joined_member_count": summary.joined,
        "m.invited_member_count": summary.invited,
      });
      out.add(",");
    }
    out.add(`"${stateName}":{"events":[`);
    events(room.state).add(']},"timeline":{"events":[');
    events(room.events).add(`],"limited":${room.isLimited},"prev_batch":"${room.previous}"}`);
    out
      .add(',"account_data":{"events":')
      .value(room.accountData.map(({ type, content }) => ({ type, content })));
    out.add("}");
    if (task.section === "join") {
      out.add(',"ephemeral":{"events":').value(room.ephemeral).add("}");
      writeUnread(out, room.unread, filter.hasThreadCounts);
    }
    out.add("}");
  }
}

interface Room {
  task: RoomTask;
  summary: RoomSummary | undefined;
  isLimited: boolean;
  previous: string;
  events: readonly Uint8Array[];
  state: readonly Uint8Array[];
  ephemeral: readonly unknown[];
  accountData: readonly AccountDatum[];
  unread: RoomUnread | undefined;
}

function joinTask(membership: RoomMembership, request: RoomsRequest): RoomTask {
  const { window, upTo, isFullState } = request;
  const isNew = window === undefined || membership.since > window.since;
  const room = window?.rooms.get(membership.roomId);
  const isKnown = !isNew && window.isCovered;
  return {
    membership,
    section: "join",
    after: isNew ? undefined : window.since,
    upTo,
    hasFullState: isNew || isFullState,
    isBare: false,
    events: isKnown ? (room?.events ?? []) : undefined,
  };
}

/** Whether the members of a room, or what is known of them, may have changed. */
function hasNewSummary(
  task: RoomTask,
  timeline: RoomTimeline | undefined,
  window: Window | undefined,
): boolean {
  if (task.section !== "join" || timeline === undefined) return false;
  if (task.hasFullState || window === undefined) return true;
  if (!timeline.isComplete) return true;
  return timeline.all.some(({ type }) => type === "m.room.member");
}

/** A joined room without news is left out of all but first answers. */
function isWorthTelling(
  room: {
    task: RoomTask;
    timeline: RoomTimeline;
    state: readonly unknown[];
    ephemeral: readonly unknown[];
    accountData: readonly unknown[];
    summary: RoomSummary | undefined;
    hasOwnReceipt: boolean;
  },
  { window }: RoomsRequest,
): boolean {
  const { task, timeline } = room;
  if (task.section === "leave" || task.hasFullState || window === undefined) return true;
  return (
    timeline.shown.length > 0 ||
    timeline.isLimited ||
    room.state.length > 0 ||
    room.ephemeral.length > 0 ||
    room.accountData.length > 0 ||
    room.summary !== undefined ||
    room.hasOwnReceipt
  );
}

function writeUnread(out: JsonWriter, unread: RoomUnread | undefined, byThread: boolean): void {
  const { main = { notifications: 0, highlights: 0 }, threads = new Map() } = unread ?? {};
  let { notifications, highlights } = main;
  if (!byThread) {
    for (const thread of threads.values()) {
      notifications += thread.notifications;
      highlights += thread.highlights;
    }
  }
  out.add(',"unread_notifications":').value({
    notification_count: notifications,
    highlight_count: highlights,
  });
  if (!byThread || threads.size === 0) return;
  out.add(',"unread_thread_notifications":{');
  out.list(threads, ([root, thread]) => {
    out.value(root).add(":").value({
      notification_count: thread.notifications,
      highlight_count: thread.highlights,
    });
  });
  out.add("}");
}
