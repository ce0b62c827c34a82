/**
 * Unread counts of active users, in memory: counted by the database once, then kept up to date with
 * what happens, so that an answer to a waiting client asks nothing of the database.
 */
import { LRUCache } from "lru-cache";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as notifications from "../../storage/notifications.ts";
import type { UnreadRow } from "../../storage/notifications.ts";

export interface UnreadCount {
  notifications: number;
  highlights: number;
}
export interface RoomUnread {
  /** Of the main timeline. */
  main: UnreadCount;
  /** By thread root. */
  threads: ReadonlyMap<EventId, UnreadCount>;
}

interface ThreadCount extends UnreadCount {
  /** Position of the newest unread notification. */
  newest: number;
}

interface RoomCounts {
  /** They take account of everything up to here. */
  asOf: number;
  threads: Map<string, ThreadCount>;
}

const CACHED_USERS = 10_000;
const NONE: UnreadCount = { notifications: 0, highlights: 0 };

export class Counts {
  readonly #db: Database["db"];
  readonly #consumer: string;
  readonly #users = new LRUCache<UserId, Map<RoomId, RoomCounts>>({ max: CACHED_USERS });
  /** Everything up to here has been applied to what is in memory. */
  #applied = 0;

  /** @param consumer whose cursor says how far notifications have been written */
  constructor(database: Pick<Database, "db">, consumer: string) {
    this.#db = database.db;
    this.#consumer = consumer;
  }

  async of(userId: UserId, roomIds: readonly RoomId[]): Promise<Map<RoomId, RoomUnread>> {
    let rooms = this.#users.get(userId);
    if (rooms === undefined) this.#users.set(userId, (rooms = new Map()));
    const found = new Map<RoomId, RoomUnread>();
    const missing: RoomId[] = [];
    for (const roomId of roomIds) {
      const room = rooms.get(roomId);
      if (room === undefined) missing.push(roomId);
      else if (room.threads.size > 0) found.set(roomId, unreadOf(room));
    }
    if (missing.length === 0) return found;
    const { rows, upTo } = await notifications.countUnread(
      this.#db,
      userId,
      missing,
      this.#consumer,
    );
    const counted = new Map<RoomId, RoomCounts>(
      missing.map((roomId) => [roomId, { asOf: upTo, threads: new Map() }]),
    );
    for (const row of rows) counted.get(row.room_id)?.threads.set(row.thread_id, countOf(row));
    for (const [roomId, room] of counted) {
      if (room.threads.size > 0) found.set(roomId, unreadOf(room));
      // Counts that are older than what has been applied meanwhile would lack it for ever.
      if (upTo >= this.#applied) rooms.set(roomId, room);
    }
    return found;
  }

  /** Adds what users have been notified about at a position. */
  add(
    { roomId, threadId, isHighlight }: { roomId: RoomId; threadId: string; isHighlight: boolean },
    position: number,
    users: ReadonlyMap<UserId, boolean>,
  ): void {
    for (const [userId, isRead] of users) {
      if (isRead) continue;
      const room = this.#users.peek(userId)?.get(roomId);
      if (room === undefined || position <= room.asOf) continue;
      const count = room.threads.get(threadId) ?? { ...NONE, newest: 0 };
      count.notifications += 1;
      if (isHighlight) count.highlights += 1;
      count.newest = Math.max(count.newest, position);
      room.threads.set(threadId, count);
    }
  }

  /**
   * Takes away what a user has read up to a position.
   *
   * @param at stream position of the entry that says so
   */
  read(
    userId: UserId,
    { roomId, threadId, upTo }: { roomId: RoomId; threadId: string | undefined; upTo: number },
    at: number,
  ): void {
    const rooms = this.#users.peek(userId);
    const room = rooms?.get(roomId);
    if (room === undefined || at <= room.asOf) return;
    for (const [thread, { newest }] of room.threads) {
      if (threadId !== undefined && thread !== threadId) continue;
      if (newest <= upTo) room.threads.delete(thread);
      else rooms?.delete(roomId);
    }
  }

  /** Has a room of some users counted again. */
  forget(userIds: Iterable<UserId>, roomId: RoomId): void {
    for (const userId of userIds) this.#users.peek(userId)?.delete(roomId);
  }

  /** Says that everything up to a position has been written and applied. */
  reach(position: number): void {
    this.#applied = position;
  }
}

function countOf({ notifications, highlights, newest }: UnreadRow): ThreadCount {
  return { notifications, highlights, newest };
}

function unreadOf({ threads }: RoomCounts): RoomUnread {
  const byRoot = new Map<EventId, UnreadCount>();
  let main = NONE;
  for (const [thread, { notifications, highlights }] of threads) {
    if (thread === "main") main = { notifications, highlights };
    else byRoot.set(thread as EventId, { notifications, highlights });
  }
  return { main, threads: byRoot };
}
