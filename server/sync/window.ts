/**
 * What happened for a user in a window of the stream, `(since, upTo]`.
 *
 * It comes from memory where that reaches back far enough: the user's own log, or else the tail. What
 * is older is read by stream position.
 */
import type { EventId, RoomId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { StoredEvent } from "../../storage/events.ts";
import type { ReceiptData } from "../../storage/stream.ts";
import {
  type ActiveUser,
  isShown,
  memberOf,
  type RoomMembership,
} from "../memberships/memberships.ts";
import type { Entry, Stream } from "../stream/stream.ts";
import type { AccountData, AccountDatum, Receipt, Receipts } from "./ports.ts";

export interface RoomWindow {
  /** All events of the room in the window, oldest first; undefined where they are still to be read. */
  events: StoredEvent[] | undefined;
  receipts: Receipt[];
  accountData: AccountDatum[];
}

export interface Window {
  since: number;
  upTo: number;
  /** Whether everything came from memory. */
  isCovered: boolean;
  /** The user's memberships at its end: of the rooms below, or of all rooms where it is not covered. */
  memberships: ReadonlyMap<RoomId, RoomMembership>;
  rooms: Map<RoomId, RoomWindow>;
  accountData: AccountDatum[];
  /** Whether messages for a device may have come. */
  hasToDevice(deviceId: string): boolean;
  /** Whether a device's stock of keys is known to have changed. */
  hasNewKeyCounts(deviceId: string): boolean;
}

export interface WindowDeps {
  stream: Pick<Stream, "after">;
  accountData: AccountData;
  receipts: Receipts;
}

/**
 * Captures a window whose end is the stream's present position.
 *
 * What it takes from memory it takes before it waits for anything, so that it all fits together.
 */
export function openWindow(
  user: ActiveUser,
  since: number,
  upTo: number,
  deps: WindowDeps,
): Promise<Window> {
  const entries = user.after(since) ?? concerning(user, deps.stream.after(since));
  return entries === undefined
    ? readWindow(user, since, upTo, deps)
    : gather(user, since, upTo, entries, deps);
}

async function gather(
  user: ActiveUser,
  since: number,
  upTo: number,
  entries: readonly Entry[],
  deps: WindowDeps,
): Promise<Window> {
  const rooms = new Map<RoomId, RoomWindow>();
  const memberships = new Map<RoomId, RoomMembership>();
  const accountData = new Map<string, AccountDatum>();
  const messaged = new Set<string | undefined>();
  const counted = new Set<string | undefined>();
  let isPartial = false;

  function roomOf(roomId: RoomId): RoomWindow {
    let room = rooms.get(roomId);
    if (room === undefined) {
      rooms.set(roomId, (room = { events: [], receipts: [], accountData: [] }));
      const membership = user.rooms.get(roomId);
      if (membership !== undefined) memberships.set(roomId, membership);
    }
    return room;
  }

  for (const entry of entries) {
    const { kind, roomId, userId, data } = entry;
    switch (kind) {
      case "event":
        if (roomId !== undefined && entry.subject !== undefined) {
          roomOf(roomId).events?.push(entry.subject);
        }
        break;
      case "receipt":
        if (roomId !== undefined) {
          const receipt = receiptOf(entry);
          if (receipt !== undefined) roomOf(roomId).receipts.push(receipt);
        }
        break;
      case "account_data": {
        if (userId !== user.userId) break;
        const type = data?.["type"];
        const content = data?.["content"];
        if (typeof type !== "string" || content === undefined) isPartial = true;
        else {
          const datum: AccountDatum = { roomId, type, content: content as JsonObject };
          accountData.set(`${roomId ?? ""}\0${type}`, datum);
        }
        break;
      }
      case "to_device":
        if (userId === user.userId) messaged.add(entry.deviceId);
        break;
      case "one_time_keys":
        if (userId === user.userId) counted.add(entry.deviceId);
        break;
      default:
    }
  }
  const changed = isPartial
    ? await deps.accountData.list(user.userId, { after: since, upTo })
    : [...accountData.values()];
  return {
    since,
    upTo,
    isCovered: true,
    memberships,
    rooms,
    accountData: sort(changed, roomOf),
    hasToDevice: (deviceId) => messaged.has(deviceId),
    hasNewKeyCounts: (deviceId) => counted.has(deviceId),
  };
}

/** The same from storage; the rooms' events are read with their timelines. */
async function readWindow(
  user: ActiveUser,
  since: number,
  upTo: number,
  deps: WindowDeps,
): Promise<Window> {
  const memberships = new Map(user.rooms);
  const rooms = new Map<RoomId, RoomWindow>();
  function roomOf(roomId: RoomId): RoomWindow {
    let room = rooms.get(roomId);
    if (room === undefined) {
      rooms.set(roomId, (room = { events: undefined, receipts: [], accountData: [] }));
    }
    return room;
  }
  for (const { roomId, membership, position } of memberships.values()) {
    if (membership === "join" || position > since) roomOf(roomId);
  }
  const joined = [...memberships.values()].filter(({ membership }) => membership === "join");
  const changed = { after: since, upTo };
  const [accountData, receipts] = await Promise.all([
    deps.accountData.list(user.userId, changed),
    deps.receipts.list(
      joined.map(({ roomId }) => roomId),
      user.userId,
      changed,
    ),
  ]);
  for (const receipt of receipts) rooms.get(receipt.roomId)?.receipts.push(receipt);
  return {
    since,
    upTo,
    isCovered: false,
    memberships,
    rooms,
    accountData: sort(accountData, roomOf),
    hasToDevice: () => true,
    hasNewKeyCounts: () => false,
  };
}

/** Puts account data of rooms with their rooms, and gives the rest. */
function sort(
  data: readonly AccountDatum[],
  roomOf: (roomId: RoomId) => RoomWindow,
): AccountDatum[] {
  const global: AccountDatum[] = [];
  for (const datum of data) {
    if (datum.roomId === undefined) global.push(datum);
    else roomOf(datum.roomId).accountData.push(datum);
  }
  return global;
}

/** The entries of the tail that a user's log would hold, or more. */
function concerning(user: ActiveUser, tail: readonly Entry[] | undefined): Entry[] | undefined {
  return tail?.filter((entry) => {
    const { kind, roomId, userId, subject } = entry;
    if (kind === "event") {
      const membership = roomId === undefined ? undefined : user.rooms.get(roomId);
      if (membership === undefined || !isShown(subject)) return false;
      if (membership.membership === "join" || memberOf(entry) === user.userId) return true;
      // Of a room that was left, what came before; its section sees to what is visible.
      return membership.since > entry.position;
    }
    if (userId === user.userId) return true;
    if (kind !== "receipt" || roomId === undefined) return false;
    return user.isJoined(roomId) && entry.data?.["type"] === "m.read";
  });
}

function receiptOf({ roomId, userId, data }: Entry): Receipt | undefined {
  if (roomId === undefined || userId === undefined || data === undefined) return undefined;
  // What the receipts' own writer appended.
  const { type, event_id, thread_id, ts } = data as unknown as ReceiptData;
  return { roomId, userId, type, eventId: event_id satisfies EventId, threadId: thread_id, ts };
}
