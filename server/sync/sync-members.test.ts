import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { type Answer, at, eventsAt, openTestHouse, type TestHouse } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const LAZY = JSON.stringify({ room: { state: { lazy_load_members: true } } });

let house: TestHouse;
let count = 0;
before(async () => {
  house = await openTestHouse();
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

async function newMember(roomId: RoomId): Promise<UserId> {
  const userId: UserId = `@user${++count}:gomin.test`;
  await house.rooms.membership.join({ roomId, sender: userId });
  return userId;
}

function membersIn(answer: Answer, roomId: RoomId, name = "state"): unknown[] {
  return eventsAt(answer, "rooms", "join", roomId, name)
    .filter(({ type }) => type === "m.room.member")
    .map((event) => event["state_key"])
    .sort();
}

async function bigRoom(): Promise<{ roomId: RoomId; reader: UserId; others: UserId[] }> {
  const roomId = await house.rooms.create({ creator: alice, preset: "public_chat", name: "Big" });
  const reader = await newMember(roomId);
  const others: UserId[] = [];
  for (let i = 0; i < 12; i++) others.push(await newMember(roomId));
  for (let i = 0; i < 10; i++) await house.send(roomId, alice, `m${i}`);
  return { roomId, reader, others };
}

suite("lazy loading", () => {
  test("a first sync has the members who sent what is shown, the reader and the heroes", async () => {
    const { roomId, reader, others } = await bigRoom();
    const answer = await house.answer(reader, { filter: LAZY });
    const heroes = at(answer, "rooms", "join", roomId, "summary", "m.heroes") as string[];
    assert.equal(heroes.length, 5);
    assert.deepEqual(membersIn(answer, roomId), [...new Set([alice, reader, ...heroes])].sort());
    assert.equal(at(answer, "rooms", "join", roomId, "summary", "m.joined_member_count"), 14);
    const whole = await house.answer(reader);
    assert.deepEqual(membersIn(whole, roomId), [alice, reader, ...others].sort());
  });

  test("members are sent with what they say, once", async () => {
    const { roomId, reader, others } = await bigRoom();
    const speaker = others.at(-1) ?? alice;
    const first = await house.answer(reader, { filter: LAZY });
    await house.send(roomId, speaker, "hello");
    const second = await house.answer(reader, { filter: LAZY, since: first.next_batch });
    assert.deepEqual(membersIn(second, roomId), [speaker]);
    await house.send(roomId, speaker, "again");
    await house.send(roomId, alice, "hello you");
    const third = await house.answer(reader, { filter: LAZY, since: second.next_batch });
    assert.deepEqual(membersIn(third, roomId), []);
  });

  test("an answer that was lost is given again with its members", async () => {
    const { roomId, reader, others } = await bigRoom();
    const speaker = others.at(-1) ?? alice;
    const { next_batch: since } = await house.answer(reader, { filter: LAZY });
    await house.send(roomId, speaker, "hello");
    for (let i = 0; i < 3; i++) {
      const answer = await house.answer(reader, { filter: LAZY, since });
      assert.deepEqual(membersIn(answer, roomId), [speaker]);
    }
  });

  test("each device is sent members for itself, and redundant ones where it asks", async () => {
    const { roomId, reader, others } = await bigRoom();
    const speaker = others.at(-1) ?? alice;
    const first = await house.answer(reader, { filter: LAZY });
    const other = await house.answer(reader, { filter: LAZY, deviceId: "OTHER" });
    await house.send(roomId, speaker, "hello");
    const second = await house.answer(reader, { filter: LAZY, since: first.next_batch });
    await house.send(roomId, speaker, "hello");
    const since = second.next_batch;
    const on = { filter: LAZY, since: other.next_batch, deviceId: "OTHER" };
    assert.deepEqual(membersIn(await house.answer(reader, on), roomId), [speaker]);
    const redundant = JSON.stringify({
      room: { state: { lazy_load_members: true, include_redundant_members: true } },
    });
    const again = await house.answer(reader, { filter: redundant, since });
    assert.deepEqual(membersIn(again, roomId), [speaker]);
  });

  test("a gap has all members who changed in it", async () => {
    const { roomId, reader } = await bigRoom();
    const { next_batch: since } = await house.answer(reader, { filter: LAZY });
    const joiner = await newMember(roomId);
    for (let i = 0; i < 12; i++) await house.send(roomId, alice, `m${i}`);
    const answer = await house.answer(reader, { filter: LAZY, since });
    assert.equal(at(answer, "rooms", "join", roomId, "timeline", "limited"), true);
    assert.deepEqual(membersIn(answer, roomId), [joiner]);
    assert.equal(at(answer, "rooms", "join", roomId, "summary", "m.joined_member_count"), 15);
  });

  test("with state_after, members who change are in it also where the timeline shows them", async () => {
    const { roomId, reader } = await bigRoom();
    const stateName = "state_after";
    const { next_batch: since } = await house.answer(reader, { filter: LAZY, stateName });
    const joiner = await newMember(roomId);
    const answer = await house.answer(reader, { filter: LAZY, since, stateName });
    assert.deepEqual(membersIn(answer, roomId, stateName), [joiner]);
  });
});

suite("summaries", () => {
  test("heroes are the first other members; of a deserted room those who are gone", async () => {
    const roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
    const bob = await newMember(roomId);
    const heroes = async (): Promise<unknown> =>
      at(await house.answer(alice), "rooms", "join", roomId, "summary", "m.heroes");
    assert.deepEqual(await heroes(), [bob]);
    await house.rooms.membership.leave({ roomId, sender: bob });
    assert.deepEqual(await heroes(), [bob]);
    const carol: UserId = `@carol:gomin.test`;
    await house.rooms.membership.invite({ roomId, sender: alice, target: carol });
    assert.deepEqual(await heroes(), [carol]);
    const answer = await house.answer(alice);
    const summary = at(answer, "rooms", "join", roomId, "summary");
    assert.equal(at(summary, "m.invited_member_count"), 1);
    assert.equal(at(summary, "m.joined_member_count"), 1);
  });

  test("a summary comes with changes of members only", async () => {
    const roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
    const first = await house.answer(alice);
    await house.send(roomId, alice, "no change");
    const second = await house.answer(alice, { since: first.next_batch });
    assert.equal(at(second, "rooms", "join", roomId, "summary"), undefined);
    await newMember(roomId);
    const third = await house.answer(alice, { since: second.next_batch });
    assert.equal(at(third, "rooms", "join", roomId, "summary", "m.joined_member_count"), 2);
  });
});
