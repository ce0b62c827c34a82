/** A homeserver without HTTP, with receipts, push rules and unread counts, for tests. */
import assert from "node:assert/strict";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import { AccountData } from "../account-data/account-data.ts";
import { PushRules } from "../push-rules/push-rules.ts";
import { Receipts } from "../receipts/receipts.ts";
import type { UnreadOptions } from "./unread.ts";
import { openUnread, type Unread } from "./unread.ts";
import type { TestHouse } from "../sync/testing.ts";

export interface Reader extends AsyncDisposable {
  readonly unread: Unread;
  readonly pushRules: PushRules;
  readonly receipts: Receipts;
  readonly accountData: AccountData;
  readonly errors: unknown[];
  /** `[notifications, highlights]` of a room by thread, once everything so far is counted. */
  counts(userId: UserId, roomId: RoomId): Promise<Record<string, [number, number]>>;
  read(
    userId: UserId,
    roomId: RoomId,
    eventId: EventId,
    threadId?: EventId | "main",
  ): Promise<void>;
}

export async function openReader(
  house: TestHouse,
  overrides: Partial<UnreadOptions> = {},
): Promise<Reader> {
  const { database, stream, memberships, timeline, rooms } = house;
  const errors: unknown[] = [];
  const clock = () => house.clock.now;
  const pushRules = new PushRules({ database, stream });
  const accountData = new AccountData({ database, stream, generated: [pushRules.generated] });
  const receipts = new Receipts({ database, stream, memberships, timeline, accountData, clock });
  const unread = await openUnread({
    database,
    stream,
    rooms,
    timeline,
    isLocal: (serverName) => serverName === "gomin.test",
    clock,
    onError: (error) => errors.push(error),
    ...overrides,
  });
  return {
    unread,
    pushRules,
    receipts,
    accountData,
    errors,
    async counts(userId, roomId) {
      await unread.reached(stream.position, AbortSignal.timeout(5000));
      const cached = flat((await unread.counts(userId, [roomId])).get(roomId));
      const again = flat((await unread.counts(userId, [roomId])).get(roomId));
      assert.deepEqual(again, cached);
      return cached;
    },
    read: (userId, roomId, eventId, threadId) =>
      receipts.send(userId, roomId, "m.read", eventId, threadId),
    [Symbol.asyncDispose]: () => unread[Symbol.asyncDispose](),
  };
}

function flat(
  room: Awaited<ReturnType<Unread["counts"]>> extends ReadonlyMap<RoomId, infer R>
    ? R | undefined
    : never,
): Record<string, [number, number]> {
  if (room === undefined) return {};
  const { main, threads } = room;
  const all: [string, typeof main][] = [["main", main], ...threads];
  return Object.fromEntries(
    all
      .filter(([, { notifications }]) => notifications > 0)
      .map(([thread, { notifications, highlights }]) => [thread, [notifications, highlights]]),
  );
}
