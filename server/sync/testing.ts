/** A homeserver without HTTP, for the tests of what clients read. */
import { randomBytes } from "node:crypto";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import { SigningKey } from "../../spec/signing.ts";
import { openNids } from "../../storage/nids.ts";
import { openTestDatabase, type TestDatabase } from "../../storage/testing.ts";
import { InProcessBus } from "../bus/in-process-bus.ts";
import { InProcessStore } from "../ephemeral/in-process-store.ts";
import { type Memberships, openMemberships } from "../memberships/memberships.ts";
import { Rooms, StateStore } from "../rooms/rooms.ts";
import { openStream, type Stream, type StreamOptions } from "../stream/stream.ts";
import { type Bundles, type Timeline, createTimeline } from "../timeline/timeline.ts";
import type { AccountDatum, Presence, Receipt } from "./ports.ts";
import { createSync, type Sync, type SyncDeps, type SyncRequest } from "./sync.ts";

/** What a test keeps in place of other subjects. */
export interface Stores {
  accountData: Map<UserId, (AccountDatum & { position: number })[]>;
  receipts: (Receipt & { position: number })[];
  toDevice: { userId: UserId; deviceId: string; position: number; json: string }[];
  filters: Map<string, JsonObject>;
  /** How often messages to devices were asked for, or removed. */
  toDeviceCalls: string[];
  keyCounts: { oneTimeKeys: Record<string, number>; unusedFallbackKeys: string[] };
  presence: Map<UserId, JsonObject>;
  /** How often a device said that it is there. */
  synced: string[];
}

export interface TestHouse extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly bus: InProcessBus;
  readonly stream: Stream;
  readonly ephemeral: InProcessStore;
  readonly memberships: Memberships;
  readonly states: StateStore;
  readonly timeline: Timeline;
  readonly rooms: Rooms;
  readonly sync: Sync;
  readonly stores: Stores;
  readonly clock: { now: number };
  /** Errors that were told to nobody else. */
  readonly errors: unknown[];
  /** How many SQL statements have been sent, but for those of the stream writer. */
  readonly statements: { count: number; texts: string[] };
  send(roomId: RoomId, sender: UserId, body: string, more?: JsonObject): Promise<EventId>;
  /** One answer, read. */
  answer(userId: UserId, request?: SyncRequest & { deviceId?: string }): Promise<Answer>;
  setAccountData(userId: UserId, type: string, content: JsonObject, roomId?: RoomId): Promise<void>;
  setReceipt(receipt: Omit<Receipt, "ts">): Promise<void>;
  sendToDevice(userId: UserId, deviceId: string, message: JsonObject): Promise<void>;
}

/** An answer, as a client reads it. */
export interface Answer extends JsonObject {
  next_batch: string;
}

const NO_BUNDLES: Bundles = { bundle: async () => new Map() };

export interface TestHouseOptions {
  stream?: Partial<StreamOptions>;
  sync?: Partial<SyncDeps>;
  bundles?: (timeline: Pick<Timeline, "held" | "visibility">) => Bundles;
  hasPresence?: boolean;
  logEntries?: number;
  /** A second process on the database of another. */
  beside?: TestHouse;
}

export async function openTestHouse(options: TestHouseOptions = {}): Promise<TestHouse> {
  const { beside } = options;
  const database = beside?.database ?? (await openTestDatabase());
  const statements = { count: 0, texts: [] as string[] };
  const counted = countStatements(database, statements);
  const clock = beside?.clock ?? { now: 1_700_000_000_000 };
  const errors: unknown[] = [];
  const onError = (error: unknown): void => {
    errors.push(error);
  };
  const bus = new InProcessBus(onError);
  const stream = await openStream({
    database,
    bus: beside?.bus ?? bus,
    processId: randomBytes(4).toString("hex"),
    onError,
    ...options.stream,
  });
  const nids = openNids(database);
  const states = new StateStore(counted, nids);
  const ephemeral = beside?.ephemeral ?? new InProcessStore({ onError });
  const { logEntries } = options;
  const memberships = openMemberships({
    database: counted,
    stream,
    ...(logEntries === undefined ? {} : { logEntries }),
  });
  const stores: Stores = beside?.stores ?? {
    accountData: new Map(),
    receipts: [],
    toDevice: [],
    filters: new Map(),
    toDeviceCalls: [],
    keyCounts: { oneTimeKeys: { signed_curve25519: 0 }, unusedFallbackKeys: [] },
    presence: new Map(),
    synced: [],
  };
  const timeline = createTimeline({
    database: counted,
    stream,
    memberships,
    states,
    findAccountData: async (userId, type) =>
      stores.accountData.get(userId)?.find((d) => d.roomId === undefined && d.type === type)
        ?.content,
    bundles: options.bundles ?? (() => NO_BUNDLES),
    clock: () => clock.now,
    onError,
  });
  const rooms = new Rooms({
    database,
    stream,
    nids,
    states,
    signer: {
      serverName: "gomin.test",
      key: new SigningKey("a", Buffer.alloc(32, 1)),
    },
    serverName: "gomin.test",
    defaultVersion: "12",
    clock: () => clock.now++,
    newRoomId: () => `!${randomBytes(9).toString("hex")}:gomin.test`,
    isLocal: (serverName) => serverName === "gomin.test",
    findProfile: async () => ({}),
    assertMayAct: async () => undefined,
    isAdmin: async () => false,
    blocksInvites: async () => false,
  });
  const sync = createSync({
    database: counted,
    stream,
    ephemeral,
    memberships,
    timeline,
    states,
    ...portsOf(stores, stream, ephemeral),
    ...(options.hasPresence === true ? { presence: presenceOf(stores) } : {}),
    onError,
    ...options.sync,
  });
  return {
    database,
    bus,
    stream,
    ephemeral,
    memberships,
    states,
    timeline,
    rooms,
    sync,
    stores,
    clock,
    errors,
    statements,
    send: (roomId, sender, body, more) =>
      rooms.messages.send({
        roomId,
        sender,
        type: "m.room.message",
        content: { msgtype: "m.text", body, ...more },
      }),
    async answer(userId, { deviceId = "DEVICE", ...request } = {}) {
      const body = await sync.sync({ userId, deviceId, tokenId: 1 }, request);
      return JSON.parse(body.toString()) as Answer;
    },
    async setAccountData(userId, type, content, roomId) {
      await stream.append({
        entries: [
          {
            kind: "account_data",
            userId,
            ...(roomId === undefined ? {} : { roomId }),
            data: { type, content },
          },
        ],
        write: async (_, [position = 0]) => {
          const others = (stores.accountData.get(userId) ?? []).filter(
            (datum) => datum.type !== type || datum.roomId !== roomId,
          );
          stores.accountData.set(userId, [...others, { roomId, type, content, position }]);
        },
      });
    },
    async setReceipt(receipt) {
      const { roomId, userId, type, eventId, threadId } = receipt;
      const ts = clock.now;
      const thread = threadId === undefined ? {} : { thread_id: threadId };
      await stream.append({
        entries: [
          { kind: "receipt", roomId, userId, data: { type, event_id: eventId, ts, ...thread } },
        ],
        write: async (_, [position = 0]) => {
          stores.receipts.push({ ...receipt, ts, position });
        },
      });
    },
    async sendToDevice(userId, deviceId, message) {
      await stream.append({
        entries: [{ kind: "to_device", userId, deviceId }],
        write: async (_, [position = 0]) => {
          const json = JSON.stringify(message);
          stores.toDevice.push({ userId, deviceId, position, json });
        },
      });
    },
    async [Symbol.asyncDispose]() {
      sync[Symbol.dispose]();
      rooms[Symbol.dispose]();
      timeline[Symbol.dispose]();
      memberships[Symbol.dispose]();
      await stream[Symbol.asyncDispose]();
      if (beside === undefined) {
        await ephemeral[Symbol.asyncDispose]();
        await database[Symbol.asyncDispose]();
      }
    },
  };
}

/** The same database, with its statements counted. */
function countStatements(
  database: TestDatabase,
  statements: { count: number; texts: string[] },
): Pick<TestDatabase, "db"> {
  const db = database.db.withPlugin({
    transformQuery({ node }) {
      statements.count += 1;
      statements.texts.push(node.kind);
      return node;
    },
    transformResult: async ({ result }) => result,
  });
  return { db };
}

function portsOf(stores: Stores, stream: Stream, ephemeral: InProcessStore) {
  const within = (position: number, range?: { after: number; upTo: number }): boolean =>
    range === undefined || (position > range.after && position <= range.upTo);
  return {
    filters: {
      find: async (userId, filterId) => stores.filters.get(`${userId} ${filterId}`),
    },
    accountData: {
      list: async (userId, changed) =>
        (stores.accountData.get(userId) ?? []).filter((d) => within(d.position, changed)),
    },
    receipts: {
      list: async (roomIds, reader, changed) =>
        stores.receipts.filter(
          (r) =>
            roomIds.includes(r.roomId) &&
            (r.type === "m.read" || r.userId === reader) &&
            within(r.position, changed),
        ),
    },
    toDevice: {
      async list(userId, deviceId, { after, upTo, limit }) {
        stores.toDeviceCalls.push("list");
        return stores.toDevice
          .filter((m) => m.userId === userId && m.deviceId === deviceId)
          .filter((m) => within(m.position, { after, upTo }))
          .slice(0, limit);
      },
      async removeUpTo(userId, deviceId, position) {
        stores.toDeviceCalls.push("remove");
        stores.toDevice = stores.toDevice.filter(
          (m) => m.userId !== userId || m.deviceId !== deviceId || m.position > position,
        );
      },
    },
    deviceLists: {
      changes: async () => ({ changed: [], left: [] }),
      subscribe: () => () => undefined,
    },
    keyCounts: { of: async () => stores.keyCounts },
    unread: {
      get position() {
        return stream.position;
      },
      reached: async () => undefined,
      counts: async () => new Map(),
    },
    typing: {
      async list(roomIds) {
        const lists = await Promise.all(
          roomIds.map(async (roomId) => [
            roomId,
            [...(await ephemeral.members(`typing:${roomId}`)).keys()] as UserId[],
          ]),
        );
        return new Map(lists as [RoomId, UserId[]][]);
      },
      rooms: async () => [],
    },
    assertSession: async () => undefined,
  } satisfies Partial<SyncDeps>;
}

function presenceOf(stores: Stores): Presence {
  return {
    async synced(userId, deviceId, state) {
      stores.synced.push(`${userId} ${deviceId ?? ""} ${state}`);
    },
    list: async (userIds) =>
      new Map(
        userIds.flatMap((userId) => {
          const content = stores.presence.get(userId);
          return content === undefined ? [] : [[userId, content]];
        }),
      ),
    present: async () => stores.presence.keys(),
  };
}

/** The value at a path of member names in JSON; undefined where there is none. */
export function at(value: unknown, ...names: (string | number)[]): unknown {
  let found = value;
  for (const name of names) {
    if (Array.isArray(found) && typeof name === "number") found = (found as unknown[]).at(name);
    else if (isObject(found)) found = found[name];
    else return undefined;
  }
  return found;
}

/** The events at a path. */
export function eventsAt(value: unknown, ...names: string[]): JsonObject[] {
  const events = at(value, ...names, "events");
  return Array.isArray(events) ? (events as JsonObject[]) : [];
}

/** The bodies of the messages in a room's timeline, in order. */
export function bodies(answer: Answer, roomId: RoomId, section = "join"): unknown[] {
  return eventsAt(answer, "rooms", section, roomId, "timeline")
    .filter(({ type }) => type === "m.room.message")
    .map(({ content }) => at(content, "body"));
}
