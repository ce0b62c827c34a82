import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { at, bodies, eventsAt, openTestHouse, type TestHouse } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";

let house: TestHouse;
before(async () => {
  house = await openTestHouse();
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

function createRoom(more: { name?: string; invite?: UserId[] } = {}): Promise<RoomId> {
  return house.rooms.create({ creator: alice, preset: "public_chat", ...more });
}

test("a first sync gives joined rooms with their state and timeline", async () => {
  const roomId = await createRoom({ name: "Tea" });
  await house.send(roomId, alice, "one");
  const answer = await house.answer(alice);
  assert.deepEqual(bodies(answer, roomId), ["one"]);
  assert.equal(at(answer, "rooms", "join", roomId, "timeline", "limited"), false);
  const types = eventsAt(answer, "rooms", "join", roomId, "timeline").map(({ type }) => type);
  assert.ok(types.includes("m.room.create"));
  assert.equal(at(answer, "rooms", "join", roomId, "summary", "m.joined_member_count"), 1);
});

test("an incremental sync gives what came after the token, and nothing twice", async () => {
  const roomId = await createRoom();
  const first = await house.answer(alice);
  await house.send(roomId, alice, "two");
  await house.send(roomId, alice, "three");
  const second = await house.answer(alice, { since: first.next_batch });
  assert.deepEqual(bodies(second, roomId), ["two", "three"]);
  const third = await house.answer(alice, { since: second.next_batch });
  assert.equal(at(third, "rooms", "join", roomId), undefined);
});

test("a long-poll waits for news and returns with it at once", async () => {
  const roomId = await createRoom();
  const first = await house.answer(alice);
  const started = performance.now();
  const waiting = house.answer(alice, { since: first.next_batch, timeoutMs: 10_000 });
  await house.send(roomId, alice, "wake up");
  const answer = await waiting;
  assert.deepEqual(bodies(answer, roomId), ["wake up"]);
  assert.ok(performance.now() - started < 5000);
});

test("a long-poll without news returns when its time is over", async () => {
  const first = await house.answer(alice);
  const answer = await house.answer(alice, { since: first.next_batch, timeoutMs: 50 });
  assert.deepEqual(at(answer, "rooms"), { join: {}, invite: {}, knock: {}, leave: {} });
});

test("an invite wakes the invited user and shows the room's stripped state", async () => {
  const first = await house.answer(bob);
  const waiting = house.answer(bob, { since: first.next_batch, timeoutMs: 10_000 });
  const roomId = await createRoom({ name: "Party", invite: [bob] });
  const answer = await waiting;
  const state = eventsAt(answer, "rooms", "invite", roomId, "invite_state");
  const name = state.find(({ type }) => type === "m.room.name");
  assert.deepEqual(name?.["content"], { name: "Party" });
  assert.ok(state.some(({ type }) => type === "m.room.create"));
  assert.equal(at(state.at(-1), "content", "membership"), "invite");
  for (const event of state) {
    assert.deepEqual(Object.keys(event).sort(), ["content", "sender", "state_key", "type"]);
  }
  assert.equal(at(answer, "rooms", "join", roomId), undefined);
});

test("a join brings the room with its whole state and earlier messages", async () => {
  const roomId = await createRoom({ name: "Garden" });
  await house.send(roomId, alice, "before");
  const first = await house.answer(bob);
  await house.rooms.membership.join({ roomId, sender: bob });
  const answer = await house.answer(bob, { since: first.next_batch });
  assert.deepEqual(bodies(answer, roomId), ["before"]);
  const state = eventsAt(answer, "rooms", "join", roomId, "state");
  const timeline = eventsAt(answer, "rooms", "join", roomId, "timeline");
  assert.ok([...state, ...timeline].some(({ type }) => type === "m.room.name"));
  assert.equal(at(answer, "rooms", "join", roomId, "summary", "m.joined_member_count"), 2);
});

test("a long-poll in one process hears of what another one wrote", async () => {
  await using other = await openTestHouse({ beside: house });
  const roomId = await createRoom();
  const { next_batch: since } = await other.answer(alice);
  const waiting = other.answer(alice, { since, timeoutMs: 10_000 });
  await house.send(roomId, alice, "from the other side");
  const answer = await waiting;
  assert.deepEqual(bodies(answer, roomId), ["from the other side"]);
  assert.deepEqual(other.errors, []);
});
