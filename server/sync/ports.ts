/** What `/sync` asks of other subjects. Each is the narrowest that will do. */
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";

export interface Filters {
  /** A filter that the user stored. */
  find(userId: UserId, filterId: string): Promise<JsonObject | undefined>;
}

export interface AccountDatum {
  /** Absent: global. */
  roomId?: RoomId | undefined;
  type: string;
  content: JsonObject;
}
export interface AccountData {
  /** All of a user's account data, push rules included; or what changed in `(after, upTo]`. */
  list(userId: UserId, changed?: { after: number; upTo: number }): Promise<AccountDatum[]>;
}

export interface Receipt {
  roomId: RoomId;
  userId: UserId;
  type: "m.read" | "m.read.private";
  eventId: EventId;
  threadId?: string | undefined;
  ts: number;
}
export interface Receipts {
  /** The receipts in rooms, or those that changed in `(after, upTo]`; of private ones the reader's own. */
  list(
    roomIds: readonly RoomId[],
    reader: UserId,
    changed?: { after: number; upTo: number },
  ): Promise<Receipt[]>;
}

export interface ToDevice {
  /** Messages with positions in `(after, upTo]`, oldest first, each a JSON object. */
  list(
    userId: UserId,
    deviceId: string,
    range: { after: number; upTo: number; limit: number },
  ): Promise<{ position: number; json: string }[]>;
  /** Removes what the device has acknowledged. */
  removeUpTo(userId: UserId, deviceId: string, position: number): Promise<void>;
}

export interface DeviceLists {
  /** Whose keys a user has to fetch anew, and whose to forget, for what happened in `(after, upTo]`. */
  changes(
    userId: UserId,
    range: { after: number; upTo: number },
  ): Promise<{ changed: readonly UserId[]; left: readonly UserId[] }>;
  /** Hears of users for whom there is news because another user's keys changed. */
  subscribe(listener: (userId: UserId) => void): () => void;
}

export interface KeyCounts {
  /** A device's stock of keys; cheap, since every answer asks. */
  of(
    userId: UserId,
    deviceId: string,
  ): Promise<{ oneTimeKeys: Record<string, number>; unusedFallbackKeys: string[] }>;
}

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
export interface Unread {
  /** The counts take account of everything up to here. */
  readonly position: number;
  /** Resolves when they take account of everything up to a position. */
  reached(position: number, signal?: AbortSignal): Promise<void>;
  /** Rooms without unread notifications may be left out. */
  counts(userId: UserId, roomIds: readonly RoomId[]): Promise<ReadonlyMap<RoomId, RoomUnread>>;
}

/** Its changes are told by the topic `typing` of the ephemeral store, by room ID. */
export interface Typing {
  /** Who types in each of some rooms. */
  list(roomIds: readonly RoomId[]): Promise<ReadonlyMap<RoomId, readonly UserId[]>>;
  /** The rooms in which anybody types. */
  rooms(): Promise<Iterable<RoomId>>;
}

export type SyncPresence = "online" | "unavailable" | "offline";

/** Its changes are told by the topic `presence` of the ephemeral store, by user ID. */
export interface Presence {
  /** A client synced, which shows that its user is there. */
  synced(userId: UserId, deviceId: string | undefined, state: SyncPresence): Promise<void>;
  /** The content of `m.presence` for those of some users who have a presence. */
  list(userIds: readonly UserId[]): Promise<ReadonlyMap<UserId, JsonObject>>;
  /** The users who are not offline. */
  present(): Promise<Iterable<UserId>>;
}
