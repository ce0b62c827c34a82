import assert from "node:assert/strict";
import { after, suite, test } from "node:test";
import fc from "fast-check";
import { MatrixError } from "../../spec/errors.ts";
import { readStoredEvent } from "../../spec/event-format.ts";
import type { EventId, RoomId } from "../../spec/identifiers.ts";
import { roomVersions } from "../../spec/room-versions.ts";
import * as events from "../../storage/events.ts";
import * as storedRooms from "../../storage/rooms.ts";
import * as storedStream from "../../storage/stream.ts";
import { openTestDatabase } from "../../storage/testing.ts";
import { versionOf } from "./room-head.ts";
import { placeKey } from "./state-store.ts";
import { alice, bob, carol, openTestRooms, roomOf } from "./testing.ts";

const database = await openTestDatabase();
const { rooms, states, ...engine } = await openTestRooms(database);
after(async () => {
  await engine[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const forbidden = (error: unknown) =>
  error instanceof MatrixError && error.errcode === "M_FORBIDDEN";

function say(roomId: RoomId, body: string, txnId = body): Promise<EventId> {
  return rooms.messages.send({
    roomId,
    sender: alice,
    type: "m.room.message",
    content: { msgtype: "m.text", body },
    transaction: { deviceId: "A", txnId },
  });
}

async function timelineOf(roomId: RoomId): Promise<events.StoredEvent[]> {
  const room = await storedRooms.findRoom(database.db, roomId);
  assert.ok(room !== undefined);
  return events.timeline(database.db, room.nid, "forward", {}, 1000);
}

suite("rooms", () => {
  for (const version of roomVersions.keys()) {
    test(`of version ${version} are created, joined, spoken in and left`, async () => {
      const roomId = await rooms.create({
        creator: alice,
        version,
        preset: "public_chat",
        name: "A room",
        topic: "To test",
        aliasLocalpart: `v${version}`,
      });
      await rooms.membership.join({ roomId, sender: bob });
      await say(roomId, "hello");
      await rooms.membership.leave({ roomId, sender: bob });
      const timeline = await timelineOf(roomId);
      assert.deepEqual(
        timeline.map((event) => event.type),
        [
          "m.room.create",
          "m.room.member",
          "m.room.power_levels",
          "m.room.canonical_alias",
          "m.room.join_rules",
          "m.room.history_visibility",
          "m.room.guest_access",
          "m.room.name",
          "m.room.topic",
          "m.room.member",
          "m.room.message",
          "m.room.member",
        ],
      );
      const ids = timeline.map((event) => event.eventId);
      for (const [i, event] of timeline.entries()) {
        const { pdu, depth } = readStoredEvent(event.json, versionOf(version), event);
        assert.equal(depth, i + 1);
        const previous = pdu.prev_events.map((ref) => (typeof ref === "string" ? ref : ref[0]));
        assert.deepEqual(previous, i === 0 ? [] : [ids[i - 1]]);
      }
    });
  }

  test("an unknown version is refused, and nothing is written", async () => {
    const before = await storedStream.head(database.db);
    await assert.rejects(
      rooms.create({ creator: alice, version: "999" }),
      (error) => error instanceof MatrixError && error.errcode === "M_UNSUPPORTED_ROOM_VERSION",
    );
    assert.deepEqual(await storedStream.head(database.db), before);
  });

  test("a taken alias refuses the whole room", async () => {
    await rooms.create({ creator: alice, aliasLocalpart: "taken" });
    const before = await storedStream.head(database.db);
    await assert.rejects(
      rooms.create({ creator: alice, aliasLocalpart: "taken" }),
      (error) => error instanceof MatrixError && error.errcode === "M_ROOM_IN_USE",
    );
    assert.deepEqual(await storedStream.head(database.db), before);
  });

  test("rooms made alike at the same moment are different rooms, from two processes too", async () => {
    const other = await openTestRooms(database);
    const made = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        (i % 2 ? rooms : other.rooms).create({ creator: alice }),
      ),
    );
    await other[Symbol.asyncDispose]();
    assert.equal(new Set(made).size, 40);
  });

  test("64 parallel sends make one line, in the order of their commits", async () => {
    const roomId = await roomOf(rooms);
    const sent = await Promise.all(
      Array.from({ length: 64 }, (_, i) => say(roomId, `message ${i}`)),
    );
    const timeline = (await timelineOf(roomId)).slice(-64);
    assert.deepEqual(
      timeline.map((event) => event.eventId),
      sent,
    );
    assert.ok(
      timeline.every((event, i) => i === 0 || event.depth === (timeline[i - 1]?.depth ?? 0) + 1),
    );
  });

  test("V169: a transaction ID gives its event again, and another one elsewhere", async () => {
    const roomId = await roomOf(rooms);
    const other = await roomOf(rooms);
    const [first, again] = await Promise.all([say(roomId, "once", "t"), say(roomId, "once", "t")]);
    assert.equal(first, again);
    assert.equal(await say(roomId, "once", "t"), first);
    assert.notEqual(await say(other, "once", "t"), first);
    const state = await rooms.messages.send({
      roomId,
      sender: alice,
      type: "another.type",
      content: {},
      transaction: { deviceId: "A", txnId: "t" },
    });
    assert.notEqual(state, first);
    await rooms.membership.leave({ roomId: other, sender: alice });
    const elsewhere = await openTestRooms(database);
    const retried = await elsewhere.rooms.messages.send({
      roomId: other,
      sender: alice,
      type: "m.room.message",
      content: {},
      transaction: { deviceId: "A", txnId: "t" },
    });
    assert.notEqual(retried, first);
    await elsewhere[Symbol.asyncDispose]();
  });

  test("two processes that write to one room at once lose nothing", async () => {
    const roomId = await roomOf(rooms);
    const other = await openTestRooms(database);
    const sent = await Promise.all(
      Array.from({ length: 60 }, (_, i) =>
        (i % 2 === 0 ? rooms : other.rooms).messages.send({
          roomId,
          sender: alice,
          type: "m.room.message",
          content: { i },
          transaction: { deviceId: "A", txnId: `race${i}` },
        }),
      ),
    );
    await other[Symbol.asyncDispose]();
    const timeline = (await timelineOf(roomId)).filter((e) => e.type === "m.room.message");
    assert.deepEqual(timeline.map((e) => e.eventId).toSorted(), sent.toSorted());
    const room = await storedRooms.findRoom(database.db, roomId);
    assert.equal(room?.forward_extremities.length, 1);
  });

  test("V017: who has not the power may not send", async () => {
    const roomId = await rooms.create({
      creator: alice,
      preset: "public_chat",
      powerLevelOverride: { events_default: 50 },
    });
    await rooms.membership.join({ roomId, sender: bob });
    await assert.rejects(
      rooms.messages.send({ roomId, sender: bob, type: "m.room.message", content: {} }),
      forbidden,
    );
    await say(roomId, "the room goes on");
  });

  test("V016: levels beyond 2^53 - 1 and odd ones are refused", async () => {
    const roomId = await roomOf(rooms);
    for (const level of [2 ** 53, 2 ** 60, "50", 1.5, null]) {
      await assert.rejects(
        rooms.messages.setState({
          roomId,
          sender: alice,
          type: "m.room.power_levels",
          stateKey: "",
          content: { users_default: level },
        }),
        MatrixError,
        String(level),
      );
    }
    await say(roomId, "the room goes on");
  });

  test("V052: an ACL that denies this server is refused", async () => {
    const roomId = await roomOf(rooms);
    for (const content of [{}, { allow: ["*"], deny: ["here.*"] }, { allow: ["other.example"] }]) {
      await assert.rejects(
        rooms.messages.setState({
          roomId,
          sender: alice,
          type: "m.room.server_acl",
          stateKey: "",
          content,
        }),
        MatrixError,
      );
    }
  });

  test("V166: nobody sends a second create event", async () => {
    const roomId = await roomOf(rooms);
    await assert.rejects(
      rooms.messages.setState({
        roomId,
        sender: alice,
        type: "m.room.create",
        stateKey: "",
        content: {},
      }),
      forbidden,
    );
    await assert.rejects(
      rooms.messages.send({ roomId, sender: alice, type: "m.room.create", content: {} }),
      forbidden,
    );
  });

  test("V167: a state key that names a user is that user's", async () => {
    const roomId = await roomOf(rooms, bob);
    for (const stateKey of [alice, "@malformed"]) {
      await assert.rejects(
        rooms.messages.setState({
          roomId,
          sender: bob,
          type: "own.state",
          stateKey,
          content: {},
        }),
        forbidden,
      );
    }
  });

  test("V026: redacting the create event and the ACL leaves version and state", async () => {
    const roomId = await roomOf(rooms);
    const [create] = await timelineOf(roomId);
    assert.ok(create !== undefined);
    await assert.rejects(
      rooms.messages.redact({ roomId, sender: alice, redacts: create.eventId, content: {} }),
      forbidden,
    );
    await say(roomId, "the room goes on");
    const room = await storedRooms.findRoom(database.db, roomId);
    assert.equal(room?.room_version, "12");
    const other = await openTestRooms(database);
    const head = await other.rooms.writer.head(roomId);
    assert.equal((await head.stateEvent("m.room.create", ""))?.eventId, create.eventId);
    await other[Symbol.asyncDispose]();
  });

  test("a redaction takes the power to redact, or the own event", async () => {
    const roomId = await roomOf(rooms, bob);
    const hers = await say(roomId, "hers");
    await assert.rejects(
      rooms.messages.redact({ roomId, sender: bob, redacts: hers, content: {} }),
      forbidden,
    );
    const his = await rooms.messages.send({
      roomId,
      sender: bob,
      type: "m.room.message",
      content: {},
    });
    const redaction = await rooms.messages.redact({
      roomId,
      sender: bob,
      redacts: his,
      content: {},
    });
    assert.equal((await events.findById(database.db, his))?.redactedBy, redaction);
    await assert.rejects(
      rooms.messages.redact({ roomId, sender: alice, redacts: "$unknown", content: {} }),
      (error) => error instanceof MatrixError && error.errcode === "M_NOT_FOUND",
    );
  });

  test("a restricted room lets in the members of another one", async () => {
    const space = await roomOf(rooms, bob);
    const roomId = await rooms.create({
      creator: alice,
      initialState: [
        {
          type: "m.room.join_rules",
          content: {
            join_rule: "restricted",
            allow: [{ type: "m.room_membership", room_id: space }],
          },
        },
      ],
    });
    await assert.rejects(rooms.membership.join({ roomId, sender: carol }), forbidden);
    await rooms.membership.join({ roomId, sender: bob });
    const joined = (await timelineOf(roomId)).at(-1);
    assert.ok(joined !== undefined);
    assert.equal(events.contentOf(joined)["join_authorised_via_users_server"], alice);
  });

  test("invited, rejected, knocked, accepted, kicked, banned, unbanned", async () => {
    const roomId = await rooms.create({
      creator: alice,
      invite: [bob],
      initialState: [{ type: "m.room.join_rules", content: { join_rule: "knock" } }],
    });
    const is = async (user: typeof bob) => (await rooms.writer.head(roomId)).membershipOf(user);
    const change = { roomId, sender: alice, target: bob };
    assert.equal(await is(bob), "invite");
    await rooms.membership.leave({ roomId, sender: bob });
    await assert.rejects(rooms.membership.join({ roomId, sender: bob }), forbidden);
    await rooms.membership.knock({ roomId, sender: bob });
    assert.equal(await is(bob), "knock");
    await rooms.membership.invite(change);
    await rooms.membership.join({ roomId, sender: bob });
    await assert.rejects(rooms.membership.invite(change), forbidden);
    await rooms.membership.kick(change);
    await assert.rejects(rooms.membership.kick(change), forbidden);
    await rooms.membership.ban(change);
    await assert.rejects(rooms.membership.knock({ roomId, sender: bob }), forbidden);
    await rooms.membership.unban(change);
    await assert.rejects(rooms.membership.unban(change), forbidden);
    assert.equal(await is(bob), "leave");
    await rooms.membership.forget(roomId, bob);
    await assert.rejects(rooms.membership.forget(roomId, alice), MatrixError);
  });

  test("who has left reads the state as it was when they left", async () => {
    const roomId = await roomOf(rooms, bob);
    const setName = (name: string) =>
      rooms.messages.setState({
        roomId,
        sender: alice,
        type: "m.room.name",
        stateKey: "",
        content: { name },
      });
    await setName("before");
    await rooms.membership.leave({ roomId, sender: bob });
    await setName("after");
    const nameFor = async (user: typeof bob) =>
      events.contentOf(await rooms.reads.stateEvent(roomId, user, "m.room.name", ""))["name"];
    assert.equal(await nameFor(alice), "after");
    assert.equal(await nameFor(bob), "before");
    await assert.rejects(nameFor(carol), forbidden);
  });
});

suite("room state", () => {
  test("at every event is what had been set until then, however long the chain", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 12 }), fc.integer({ min: 1, max: 1e12 })), {
          minLength: 1,
          maxLength: 150,
        }),
        async (changes) => {
          const nids: number[] = [];
          const written = [];
          let parent: number | undefined;
          const model = new Map<string, number>();
          const expected: Map<string, number>[] = [];
          for (const [key, eventNid] of changes) {
            const place = { type: "t", stateKey: String(key) };
            const snapshot = await states.derive(1, parent, [{ ...place, eventNid }]);
            written.push(snapshot);
            parent = snapshot.nid;
            nids.push(snapshot.nid);
            model.set(placeKey(place.type, place.stateKey), eventNid);
            expected.push(new Map(model));
          }
          await engine.stream.append({
            entries: [{ kind: "profile", userId: alice }],
            rows: { snapshots: written },
          });
          const cold = await openTestRooms(database);
          for (const [i, nid] of nids.entries()) {
            if (i % 7 !== 0 && i !== nids.length - 1) continue;
            const state = await cold.states.all(nid);
            assert.deepEqual([...state].toSorted(), [...(expected[i] ?? [])].toSorted());
          }
          await cold[Symbol.asyncDispose]();
        },
      ),
      { numRuns: 15 },
    );
  });
});
