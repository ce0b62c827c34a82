/**
 * Who is in which room, in memory, for the users that are active in this process.
 *
 * A user's rooms are read once and then follow the stream; an index leads from a room to the active
 * users in it. So an entry of the stream reaches those it concerns, and nobody's rooms are ever walked.
 */
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { isObject } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import type { StoredEvent } from "../../storage/events.ts";
import * as rooms from "../../storage/rooms.ts";
import type { Membership } from "../../storage/rooms.ts";
import type { Entry, Stream } from "../stream/stream.ts";

/** A user's current membership of a room. Never changed: a new one takes its place. */
export interface RoomMembership {
  readonly roomNid: number;
  readonly roomId: RoomId;
  readonly membership: Membership;
  readonly eventNid: number;
  /** Who sent the member event. */
  readonly sender: UserId;
  /** Stream position of the change of membership. */
  readonly since: number;
  /** Stream position of the member event. */
  readonly position: number;
  readonly isForgotten: boolean;
}

/** A user whose rooms are known here. */
export interface ActiveUser {
  readonly userId: UserId;
  /** All memberships, as of the stream's position. */
  readonly rooms: ReadonlyMap<RoomId, RoomMembership>;
  isJoined(roomId: RoomId): boolean;
  /**
   * Entries that concern the user, after a position, oldest first: those of joined rooms, of the user's
   * own memberships, and what names the user. Undefined where the log does not reach back so far.
   */
  after(position: number): readonly Entry[] | undefined;
  /**
   * Hears, once each, of entries that concern the user. It must not throw and must not wait.
   *
   * @returns ends the subscription; the user stays in memory until then
   */
  subscribe(listener: (entry: Entry) => void): () => void;
}

export interface Memberships extends Disposable {
  /** A user's rooms, read where they are not yet known; consistent with the stream's position. */
  load(userId: UserId): Promise<ActiveUser>;
  /** The same, where they are known. */
  find(userId: UserId): ActiveUser | undefined;
  /** The active users who are joined to a room. */
  joinedIn(roomId: RoomId): Iterable<ActiveUser>;
  /** The active users who are joined to a room that another user is joined to, that one included. */
  sharing(user: ActiveUser): Set<ActiveUser>;
  /** Whether two users are joined to the same room, or are the same. */
  shareRoom(a: ActiveUser, b: ActiveUser): boolean;
}

export interface MembershipsOptions {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "position" | "reached" | "subscribe">;
  /** Memberships that are kept, over all users; more only while somebody listens to them. */
  maxMemberships?: number;
  /** Entries that a user's log keeps. */
  logEntries?: number;
}

export function openMemberships(options: MembershipsOptions): Memberships {
  const { database, stream, maxMemberships = 2_000_000, logEntries = 1000 } = options;
  /** In the order of use. */
  const users = new Map<UserId, User>();
  const loading = new Map<UserId, { entries: Entry[]; promise: Promise<ActiveUser> }>();
  const joined = new Map<RoomId, Set<User>>();
  let kept = 0;

  function enter(user: User, membership: RoomMembership): void {
    const before = user.rooms.get(membership.roomId);
    if (before === undefined) kept += 1;
    user.rooms.set(membership.roomId, membership);
    if (membership.membership === "join") {
      let members = joined.get(membership.roomId);
      if (members === undefined) joined.set(membership.roomId, (members = new Set()));
      members.add(user);
    } else if (before?.membership === "join") leaveIndex(user, membership.roomId);
  }

  function leaveIndex(user: User, roomId: RoomId): void {
    const members = joined.get(roomId);
    members?.delete(user);
    if (members?.size === 0) joined.delete(roomId);
  }

  function forgetUser(user: User): void {
    users.delete(user.userId);
    kept -= user.rooms.size + 1;
    for (const roomId of user.rooms.keys()) leaveIndex(user, roomId);
  }

  function trim(): void {
    if (kept <= maxMemberships) return;
    for (const user of users.values()) {
      if (user.listeners.size === 0) forgetUser(user);
      if (kept <= maxMemberships * 0.9) return;
    }
  }

  /** What a member event or a forgotten room changes; rows that were read may know it already. */
  function apply(user: User, entry: Entry): void {
    const { roomId, position, subject } = entry;
    if (roomId === undefined) return;
    const before = user.rooms.get(roomId);
    if (entry.kind === "forget") {
      if (before !== undefined && before.position < position) {
        enter(user, { ...before, isForgotten: true });
      }
      return;
    }
    if (subject === undefined || (before !== undefined && before.position >= position)) return;
    const membership = membershipOf(subject);
    if (membership === undefined) return;
    enter(user, {
      roomNid: subject.roomNid,
      roomId,
      membership,
      eventNid: subject.nid,
      sender: subject.sender,
      since: before?.membership === membership ? before.since : position,
      position,
      isForgotten: false,
    });
  }

  function deliver(entry: Entry): void {
    const { kind, roomId, userId } = entry;
    const target = kind === "event" ? memberOf(entry) : userId;
    if (target !== undefined) {
      loading.get(target)?.entries.push(entry);
      const user = users.get(target);
      if (user !== undefined) {
        if (kind === "event" || kind === "forget") apply(user, entry);
        user.add(entry);
      }
    }
    if (roomId === undefined || (kind !== "event" && kind !== "receipt")) return;
    if (kind === "event" && !isShown(entry.subject)) return;
    if (kind === "receipt" && entry.data?.["type"] === "m.read.private") return;
    for (const user of joined.get(roomId) ?? []) if (user.userId !== target) user.add(entry);
  }

  const unsubscribe = stream.subscribe((entries) => {
    for (const entry of entries) deliver(entry);
  });

  async function read(userId: UserId, entries: readonly Entry[]): Promise<ActiveUser> {
    const rows = await rooms.listMembershipsOf(database.db, userId);
    // The rows may be ahead of what this process knows of the stream.
    await stream.reached(rows.reduce((newest, row) => Math.max(newest, row.position), 0));
    const user = new User(userId, stream.position, logEntries);
    kept += 1;
    for (const row of rows) {
      enter(user, {
        roomNid: row.room_nid,
        roomId: row.room_id,
        membership: row.membership,
        eventNid: row.event_nid,
        sender: row.sender,
        since: row.since,
        position: row.position,
        isForgotten: row.forgotten,
      });
    }
    for (const entry of entries) {
      if (entry.kind === "event" || entry.kind === "forget") apply(user, entry);
    }
    loading.delete(userId);
    users.set(userId, user);
    trim();
    return user;
  }

  return {
    load(userId) {
      const user = users.get(userId);
      if (user !== undefined) {
        users.delete(userId);
        users.set(userId, user);
        return Promise.resolve(user);
      }
      const under = loading.get(userId);
      if (under !== undefined) return under.promise;
      const entries: Entry[] = [];
      const promise = read(userId, entries).finally(() => loading.delete(userId));
      loading.set(userId, { entries, promise });
      return promise;
    },
    find: (userId) => users.get(userId),
    joinedIn: (roomId) => joined.get(roomId) ?? [],
    sharing(user) {
      const found = new Set<ActiveUser>([user]);
      for (const { roomId, membership } of user.rooms.values()) {
        if (membership !== "join") continue;
        for (const other of joined.get(roomId) ?? []) found.add(other);
      }
      return found;
    },
    shareRoom(a, b) {
      if (a === b) return true;
      const [few, many] = a.rooms.size < b.rooms.size ? [a, b] : [b, a];
      for (const { roomId, membership } of few.rooms.values()) {
        if (membership === "join" && many.isJoined(roomId)) return true;
      }
      return false;
    },
    [Symbol.dispose]: unsubscribe,
  };
}

class User implements ActiveUser {
  readonly userId: UserId;
  readonly rooms = new Map<RoomId, RoomMembership>();
  readonly listeners = new Set<(entry: Entry) => void>();
  readonly #logEntries: number;
  #log: Entry[] = [];
  /** The log holds everything after this position. */
  #logStart: number;

  constructor(userId: UserId, logStart: number, logEntries: number) {
    this.userId = userId;
    this.#logStart = logStart;
    this.#logEntries = logEntries;
  }

  isJoined(roomId: RoomId): boolean {
    return this.rooms.get(roomId)?.membership === "join";
  }

  add(entry: Entry): void {
    this.#log.push(entry);
    if (this.#log.length > this.#logEntries * 2) {
      const dropped = this.#log.length - this.#logEntries;
      this.#logStart = this.#log[dropped - 1]?.position ?? this.#logStart;
      this.#log = this.#log.slice(dropped);
    }
    for (const listener of this.listeners) listener(entry);
  }

  after(position: number): readonly Entry[] | undefined {
    if (position < this.#logStart) return undefined;
    let low = 0;
    let high = this.#log.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#log[middle]?.position ?? 0) <= position) low = middle + 1;
      else high = middle;
    }
    return this.#log.slice(low);
  }

  subscribe(listener: (entry: Entry) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

/** Whose membership an entry is about. */
export function memberOf({ subject }: Entry): UserId | undefined {
  if (subject?.type !== "m.room.member" || !isShown(subject)) return undefined;
  return subject.stateKey as UserId | undefined;
}

/** Whether an event is for clients at all. */
export function isShown(event: StoredEvent | undefined): event is StoredEvent {
  return event !== undefined && event.rejected === undefined && !event.softFailed;
}

const MEMBERSHIPS: ReadonlySet<unknown> = new Set(["invite", "join", "knock", "leave", "ban"]);

/** The membership that a member event sets; undefined where it sets none, or cannot be read. */
export function membershipOf(event: Pick<StoredEvent, "json">): Membership | undefined {
  let pdu: unknown;
  try {
    pdu = JSON.parse(event.json);
  } catch {
    return undefined;
  }
  const content = isObject(pdu) ? pdu["content"] : undefined;
  const membership = isObject(content) ? content["membership"] : undefined;
  return MEMBERSHIPS.has(membership) ? (membership as Membership) : undefined;
}
