/** An engine of rooms for tests, on a database of its own; several on one database are several processes. */
import { randomBytes } from "node:crypto";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { SigningKey } from "../../spec/signing.ts";
import { openNids } from "../../storage/nids.ts";
import type { TestDatabase } from "../../storage/testing.ts";
import { InProcessBus } from "../bus/in-process-bus.ts";
import { openStream, type Stream } from "../stream/stream.ts";
import { newRoomId } from "./ids.ts";
import { Rooms, type RoomsDeps, StateStore } from "./rooms.ts";

export interface TestRooms extends AsyncDisposable {
  rooms: Rooms;
  stream: Stream;
  states: StateStore;
}

export async function openTestRooms(
  database: TestDatabase,
  overrides: Partial<RoomsDeps> = {},
): Promise<TestRooms> {
  const onError = (error: unknown) => {
    throw error;
  };
  const bus = new InProcessBus(onError);
  const processId = randomBytes(4).toString("hex");
  const stream = await openStream({ database, bus, processId, onError, pollMs: 50 });
  const nids = openNids(database);
  const states = new StateStore(database, nids);
  const rooms = new Rooms({
    database,
    stream,
    nids,
    states,
    signer: { serverName: "here.example", key: new SigningKey("a_test", Buffer.alloc(32, 7)) },
    serverName: "here.example",
    defaultVersion: "12",
    clock: Date.now,
    newRoomId: () => newRoomId("here.example", randomBytes),
    isLocal: (name) => name === "here.example",
    findProfile: async () => ({}),
    assertMayAct: async () => undefined,
    isAdmin: async () => false,
    blocksInvites: async () => false,
    ...overrides,
  });
  return {
    rooms,
    stream,
    states,
    async [Symbol.asyncDispose]() {
      rooms[Symbol.dispose]();
      await stream[Symbol.asyncDispose]();
      await bus[Symbol.asyncDispose]();
    },
  };
}

export const alice: UserId = "@alice:here.example";
export const bob: UserId = "@bob:here.example";
export const carol: UserId = "@carol:here.example";

/** A public room with alice and bob in it. */
export async function roomOf(rooms: Rooms, ...members: UserId[]): Promise<RoomId> {
  const roomId = await rooms.create({ creator: alice, preset: "public_chat" });
  for (const sender of members) await rooms.membership.join({ roomId, sender });
  return roomId;
}
