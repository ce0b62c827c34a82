import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import * as events from "../../storage/events.ts";
import { at, eventsAt, openTestHouse, type TestHouse } from "../sync/testing.ts";
import type { Bundle, RenderOptions } from "./client-events.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";

let house: TestHouse;
let roomId: RoomId;
const bundles = new Map<EventId, Bundle>();
before(async () => {
  house = await openTestHouse({ bundles: () => ({ bundle: async () => bundles }) });
  roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
  await house.rooms.membership.join({ roomId, sender: bob });
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

async function render(
  eventId: EventId,
  userId = bob,
  more: Partial<RenderOptions> & { deviceId?: string } = {},
): Promise<JsonObject> {
  const { deviceId, ...options } = more;
  const event = await events.findById(house.database.db, eventId);
  assert.ok(event);
  const [seen] = await house.timeline.visibility.check(userId, [event]);
  assert.ok(seen);
  return house.timeline.clientEvents.renderOne(seen, { viewer: { userId, deviceId }, ...options });
}

suite("an event", () => {
  test("has the members of the specification and no others", async () => {
    const eventId = await house.send(roomId, alice, "hello");
    const event = await render(eventId);
    const { unsigned, origin_server_ts: ts, ...rest } = event;
    assert.deepEqual(rest, {
      content: { msgtype: "m.text", body: "hello" },
      event_id: eventId,
      room_id: roomId,
      sender: alice,
      type: "m.room.message",
    });
    assert.deepEqual(unsigned, { age: house.clock.now - Number(ts), membership: "join" });
    assert.equal((await render(eventId, bob, { hasRoomId: false }))["room_id"], undefined);
  });

  test("keeps what JSON can hold: U+0000, surrogate pairs, `__proto__`", async () => {
    const odd = JSON.parse('{"body":"\\u0000😀","__proto__":{"x":1}}') as JsonObject;
    const eventId = await house.rooms.messages.send({
      roomId,
      sender: alice,
      type: "m.room.message",
      content: odd,
    });
    assert.deepEqual((await render(eventId))["content"], odd);
  });

  test("V032: shows a transaction ID to the device that sent it, and to nobody else", async () => {
    const eventId = await house.rooms.messages.send({
      roomId,
      sender: alice,
      type: "m.room.message",
      content: { body: "x" },
      transaction: { deviceId: "A", txnId: "t1" },
    });
    const shown = async (userId: UserId, deviceId?: string): Promise<unknown> => {
      const event = await render(eventId, userId, deviceId === undefined ? {} : { deviceId });
      return at(event, "unsigned", "transaction_id");
    };
    assert.equal(await shown(alice, "A"), "t1");
    assert.equal(await shown(alice, "B"), undefined);
    assert.equal(await shown(alice), undefined);
    assert.equal(await shown(bob, "A"), undefined);
  });

  test("V032: shows nothing of a PDU's own unsigned", async () => {
    const eventId = await house.send(roomId, alice, "x");
    const stored = await events.findById(house.database.db, eventId);
    assert.ok(stored);
    const pdu = JSON.parse(stored.json) as JsonObject;
    const forged = {
      ...stored,
      nid: stored.nid + 500,
      json: JSON.stringify({
        ...pdu,
        unsigned: { transaction_id: "t", redacted_because: {}, "m.relations": {}, age: 1 },
      }),
    };
    const shown = await house.timeline.clientEvents.renderOne(forged, { viewer: { userId: bob } });
    assert.deepEqual(Object.keys(shown["unsigned"] as object), ["age"]);
  });
});

suite("a state event", () => {
  test("says what it replaced, and to those who may see it what that was", async () => {
    const set = (topic: string): Promise<EventId> =>
      house.rooms.messages.setState({
        roomId: hidden,
        sender: alice,
        type: "m.room.topic",
        stateKey: "",
        content: { topic },
      });
    const hidden = await house.rooms.create({
      creator: alice,
      preset: "public_chat",
      initialState: [
        { type: "m.room.history_visibility", content: { history_visibility: "joined" } },
      ],
    });
    const first = await set("one");
    await house.rooms.membership.join({ roomId: hidden, sender: bob });
    const second = await set("two");
    const third = await set("three");
    assert.deepEqual(at(await render(third), "unsigned", "prev_content"), { topic: "two" });
    assert.equal(at(await render(third), "unsigned", "replaces_state"), second);
    assert.equal(at(await render(second), "unsigned", "replaces_state"), first);
    assert.equal(at(await render(second), "unsigned", "prev_content"), undefined);
    assert.deepEqual(at(await render(second, alice), "unsigned", "prev_content"), { topic: "one" });
    assert.equal(at(await render(first, alice), "unsigned", "replaces_state"), undefined);
    const listed = await render(third, bob, { hasPrevious: false });
    assert.equal(at(listed, "unsigned", "prev_content"), undefined);
  });
});

suite("V028: a redacted event", () => {
  test("is pruned on every read, also where it was read before, with the redaction beside it", async () => {
    const { next_batch: since } = await house.answer(bob);
    const eventId = await house.send(roomId, alice, "regretted");
    assert.equal(at(await render(eventId), "content", "body"), "regretted");
    await house.answer(bob, { since });
    const redaction = await house.rooms.messages.redact({
      roomId,
      sender: alice,
      redacts: eventId,
      content: { reason: "oops" },
      transaction: { deviceId: "A", txnId: "r1" },
    });
    await using late = await openTestHouse({ beside: house });
    const answers = [
      await house.answer(bob, { since }),
      await late.answer(bob, { since }),
      await house.answer(bob),
    ];
    const found = answers.flatMap((answer) =>
      eventsAt(answer, "rooms", "join", roomId, "timeline").filter(
        (event) => event["event_id"] === eventId,
      ),
    );
    assert.equal(found.length, 3);
    for (const event of [...found, await render(eventId), await render(eventId, alice)]) {
      assert.deepEqual(event["content"], {});
      const because = at(event, "unsigned", "redacted_because");
      assert.equal(at(because, "event_id"), redaction);
      assert.equal(at(because, "content", "reason"), "oops");
      assert.equal(at(because, "unsigned"), undefined);
    }
    const shown = await render(redaction);
    assert.equal(shown["redacts"], eventId);
    assert.equal(at(shown, "content", "redacts"), eventId);
    const raw = await render(eventId, bob, { format: "federation" });
    assert.deepEqual(raw["content"], {});
  });
});

suite("bundled aggregations", () => {
  test("stand in unsigned where they are asked for", async () => {
    const eventId = await house.send(roomId, alice, "original");
    const edit = await house.send(roomId, alice, "edit");
    const reply = await house.send(roomId, bob, "reply");
    const stored = await events.listByIds(house.database.db, [edit, reply]);
    const edited = stored.find((event) => event.eventId === edit);
    const replied = stored.find((event) => event.eventId === reply);
    assert.ok(edited && replied);
    bundles.set(eventId, {
      replacement: edited,
      thread: {
        latest: replied,
        latestBundle: { replacement: edited },
        count: 3,
        hasParticipated: true,
      },
      references: [reply],
    });
    const relations = at(
      await render(eventId, bob, { hasBundles: true }),
      "unsigned",
      "m.relations",
    );
    assert.equal(at(relations, "m.replace", "content", "body"), "edit");
    assert.equal(at(relations, "m.replace", "room_id"), roomId);
    assert.equal(at(relations, "m.thread", "count"), 3);
    assert.equal(at(relations, "m.thread", "current_user_participated"), true);
    assert.equal(at(relations, "m.thread", "latest_event", "event_id"), reply);
    assert.equal(
      at(relations, "m.thread", "latest_event", "unsigned", "m.relations", "m.replace", "event_id"),
      edit,
    );
    assert.deepEqual(at(relations, "m.reference", "chunk"), [{ event_id: reply }]);
    assert.equal(at(await render(eventId), "unsigned", "m.relations"), undefined);
    // In /sync they come with limited timelines only.
    const filter = JSON.stringify({ room: { timeline: { limit: 3 } } });
    const answer = await house.answer(bob, { filter });
    const [first] = eventsAt(answer, "rooms", "join", roomId, "timeline");
    assert.equal(first?.["event_id"], eventId);
    assert.ok(at(first, "unsigned", "m.relations") !== undefined);
  });
});
