import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import fc from "fast-check";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import * as strippedStates from "../../storage/stripped-states.ts";
import { readStrippedState } from "./stripped-state.ts";
import { at, eventsAt, openTestHouse, type TestHouse } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const remote: UserId = "@mallory:elsewhere.test";

let house: TestHouse;
let count = 0;
before(async () => {
  house = await openTestHouse();
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

/** An invite to a room of another server, as it reached us, with what came beside it. */
async function inviteFromOutside(target: UserId, invite_room_state: unknown): Promise<RoomId> {
  const nid = 50_000_000 + ++count * 10;
  const roomId: RoomId = `!outside${count}:elsewhere.test`;
  const eventId: EventId = `$invite${count}`;
  const json = JSON.stringify({
    type: "m.room.member",
    state_key: target,
    sender: remote,
    room_id: roomId,
    content: { membership: "invite" },
    depth: 5,
    origin_server_ts: 1,
    auth_events: [],
    prev_events: [],
    hashes: { sha256: "" },
    signatures: {},
  });
  await house.stream.append({
    entries: [
      {
        kind: "event",
        roomId,
        eventNid: nid,
        subject: {
          nid,
          eventId,
          roomNid: nid + 1,
          roomId,
          roomVersion: "11",
          position: undefined,
          order: undefined,
          type: "m.room.member",
          stateKey: target,
          sender: remote,
          originServerTs: 1,
          depth: 5,
          snapshotBefore: undefined,
          snapshotAfter: undefined,
          relatesTo: undefined,
          relType: undefined,
          rejected: undefined,
          softFailed: false,
          redactedBy: undefined,
          json,
        },
      },
    ],
    write: async (tx) => strippedStates.put(tx, nid, invite_room_state),
  });
  return roomId;
}

suite("V097: odd invite_room_state", () => {
  const member = { type: "m.room.member", state_key: remote, sender: remote, content: {} };
  const odd: unknown[] = [
    undefined,
    null,
    3,
    "state",
    {},
    [1, null, "x", [], {}],
    [{ type: 1, state_key: "", sender: remote, content: {} }],
    [{ type: "m.room.name", state_key: null, sender: remote, content: {} }],
    [{ type: "m.room.name", state_key: "", sender: remote, content: [] }],
    [{ ...member, content: { "\u0000": "\ud83d\ude00" }, unsigned: { age: 1 }, extra: 1 }],
    Array.from({ length: 5000 }, () => member),
  ];
  for (const [i, state] of odd.entries()) {
    test(`number ${i}: the invite is shown, and every sync works`, async () => {
      const user: UserId = `@user${i}:gomin.test`;
      const { next_batch: since } = await house.answer(user);
      const roomId = await inviteFromOutside(user, state);
      for (const answer of [
        await house.answer(user, { since }),
        await house.answer(user, { since }),
      ]) {
        const events = eventsAt(answer, "rooms", "invite", roomId, "invite_state");
        assert.ok(events.length >= 1 && events.length <= 101);
        assert.equal(at(events.at(-1), "content", "membership"), "invite");
        for (const event of events) {
          assert.deepEqual(Object.keys(event).sort(), ["content", "sender", "state_key", "type"]);
        }
      }
    });
  }

  test("whatever it is, what is taken of it is stripped state", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        for (const event of readStrippedState(value)) {
          assert.equal(typeof event.type, "string");
          assert.equal(typeof event.content, "object");
        }
      }),
    );
  });
});

test("stripped state of our own rooms is as it was at the invite, and names who invites", async () => {
  const bob: UserId = "@bob:gomin.test";
  const roomId = await house.rooms.create({ creator: alice, name: "Then", topic: "tea" });
  await house.rooms.membership.invite({ roomId, sender: alice, target: bob });
  const name = { roomId, sender: alice, type: "m.room.name", stateKey: "" };
  await house.rooms.messages.setState({ ...name, content: { name: "Now" } });
  const answer = await house.answer(bob);
  const events = eventsAt(answer, "rooms", "invite", roomId, "invite_state");
  const types = events.map(({ type }) => type);
  for (const type of ["m.room.create", "m.room.name", "m.room.topic", "m.room.join_rules"]) {
    assert.ok(types.includes(type), type);
  }
  assert.ok(!types.includes("m.room.power_levels"));
  assert.ok(!JSON.stringify(events).includes("Now"));
  assert.ok(events.some((event) => event["state_key"] === alice));
});
