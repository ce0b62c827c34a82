/** A client that believes `/sync` knows each room as the server does. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import * as rooms from "../../storage/rooms.ts";
import type { SyncRequest } from "./sync.ts";
import { type Answer, at, eventsAt, openTestHouse, type TestHouse } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";

let house: TestHouse;
let other: TestHouse;
let count = 0;
before(async () => {
  house = await openTestHouse();
  other = await openTestHouse({ beside: house, logEntries: 2, stream: { tailEntries: 10 } });
});
after(async () => {
  assert.deepEqual([...house.errors, ...other.errors], []);
  await other[Symbol.asyncDispose]();
  await house[Symbol.asyncDispose]();
});

const step = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("send") },
  { weight: 3, arbitrary: fc.constantFrom("name") },
  { weight: 2, arbitrary: fc.constantFrom("profile") },
  { weight: 2, arbitrary: fc.constantFrom("join", "join", "leave", "kick", "invite") },
  { weight: 3, arbitrary: fc.constantFrom("sync", "sync elsewhere") },
);
const stateNames = ["state", "state_after"] as const;
const stateName = fc.constantFrom(...stateNames);

interface Room {
  state: Map<string, unknown>;
  timeline: unknown[];
}

class Client {
  readonly userId: UserId;
  readonly #request: SyncRequest;
  readonly rooms = new Map<string, Room>();
  readonly invites = new Set<string>();
  #since: string | undefined;

  constructor(userId: UserId, request: SyncRequest) {
    this.userId = userId;
    this.#request = request;
  }

  async sync(at: TestHouse): Promise<void> {
    await at.stream.reached(house.stream.position);
    const answer = await at.answer(this.userId, { ...this.#request, since: this.#since });
    this.#since = answer.next_batch;
    this.#read(answer);
  }

  #read(answer: Answer): void {
    for (const roomId of keysAt(answer, "rooms", "invite")) {
      this.invites.add(roomId);
      this.rooms.delete(roomId);
    }
    for (const roomId of keysAt(answer, "rooms", "leave")) {
      this.rooms.delete(roomId);
      this.invites.delete(roomId);
    }
    for (const roomId of keysAt(answer, "rooms", "join")) {
      this.invites.delete(roomId);
      const room: Room = this.rooms.get(roomId) ?? { state: new Map(), timeline: [] };
      this.rooms.set(roomId, room);
      const name = this.#request.stateName ?? "state";
      const timeline = eventsAt(answer, "rooms", "join", roomId, "timeline");
      const isLimited = at(answer, "rooms", "join", roomId, "timeline", "limited") === true;
      const changes = eventsAt(answer, "rooms", "join", roomId, name);
      for (const event of name === "state" ? [...changes, ...timeline] : changes) {
        const stateKey = event["state_key"];
        if (stateKey !== undefined) {
          room.state.set(`${event["type"] as string} ${stateKey as string}`, event["event_id"]);
        }
      }
      if (isLimited) room.timeline = [];
      room.timeline.push(...timeline.map((event) => event["event_id"]));
    }
  }
}

function keysAt(answer: Answer, ...names: string[]): string[] {
  return Object.keys(at(answer, ...names) as object);
}

/** The server's current state, and the IDs of the newest events, oldest first. */
async function truth(roomId: RoomId, last: number): Promise<Room> {
  const { db } = house.database;
  const room = await rooms.findRoom(db, roomId);
  assert.ok(room);
  const state = await house.states.all(room.snapshot_nid);
  const held = await house.timeline.held.list(state.values());
  const ids = await db
    .selectFrom("events")
    .select("event_id")
    .where("room_nid", "=", room.nid)
    .orderBy("order_position", "desc")
    .limit(last)
    .execute();
  return {
    state: new Map(
      [...state].map(([place, nid]) => [place.replace("\0", " "), held.get(nid)?.eventId]),
    ),
    timeline: ids.map((row) => row.event_id).reverse(),
  };
}

test("whatever happens, a client's rooms, state and timeline are the server's", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 10, maxLength: 40 }),
      fc.integer({ min: 1, max: 5 }),
      stateName,
      async (steps, limit, name) => {
        const bob: UserId = `@bob${++count}:gomin.test`;
        const filter = JSON.stringify({ room: { timeline: { limit } } });
        const client = new Client(bob, { filter, stateName: name });
        const roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
        const { membership, messages } = house.rooms;
        const targeted = { roomId, sender: alice, target: bob };
        let n = 0;
        await client.sync(house);
        for (const each of ["join", ...steps, "sync elsewhere", "sync"] as const) {
          n += 1;
          // What the room refuses, as a leave of who is not in it, is no matter here.
          const work: Promise<unknown> | undefined = {
            send: () => house.send(roomId, alice, `m${n}`),
            name: () =>
              messages.setState({
                roomId,
                sender: alice,
                type: "m.room.name",
                stateKey: "",
                content: { name: `name ${n}` },
              }),
            profile: () => membership.updateProfile(alice, { displayname: `Alice ${n}` }),
            join: () => membership.join({ roomId, sender: bob }),
            leave: () => membership.leave({ roomId, sender: bob }),
            kick: () => membership.kick(targeted),
            invite: () => membership.invite(targeted),
            sync: () => undefined,
            "sync elsewhere": () => undefined,
          }[each]();
          await work?.catch(() => undefined);
          if (!each.startsWith("sync")) continue;
          await client.sync(each === "sync" ? house : other);
          const user = await house.memberships.load(bob);
          const now = user.rooms.get(roomId)?.membership;
          assert.equal(client.rooms.has(roomId), now === "join");
          assert.equal(client.invites.has(roomId), now === "invite");
          const known = client.rooms.get(roomId);
          if (known === undefined) continue;
          const expected = await truth(roomId, known.timeline.length);
          assert.deepEqual(known.timeline, expected.timeline);
          assert.deepEqual(new Map([...known.state].sort()), new Map([...expected.state].sort()));
        }
      },
    ),
    { numRuns: 10 },
  );
});
