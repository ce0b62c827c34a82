import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { openTestHouse, type TestHouse } from "../sync/testing.ts";
import { openReader, type Reader } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";
const carol: UserId = "@carol:gomin.test";

let house: TestHouse;
let reader: Reader;
before(async () => {
  house = await openTestHouse();
  reader = await openReader(house);
});
after(async () => {
  await reader[Symbol.asyncDispose]();
  await house[Symbol.asyncDispose]();
  assert.deepEqual(reader.errors, []);
  assert.deepEqual(house.errors, []);
});

async function room(...members: UserId[]): Promise<RoomId> {
  const roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
  for (const sender of members) await house.rooms.membership.join({ roomId, sender });
  return roomId;
}

function inThread(root: EventId): JsonObject {
  return { "m.relates_to": { rel_type: "m.thread", event_id: root } };
}

const mentions = (...userIds: UserId[]): JsonObject => ({ "m.mentions": { user_ids: userIds } });

suite("unread counts", () => {
  test("grow for all members but the sender", async () => {
    const roomId = await room(bob, carol);
    await house.send(roomId, alice, "one");
    await house.send(roomId, alice, "two");
    assert.deepEqual(await reader.counts(bob, roomId), { main: [2, 0] });
    assert.deepEqual(await reader.counts(carol, roomId), { main: [2, 0] });
    assert.deepEqual(await reader.counts(alice, roomId), {});
    await house.send(roomId, alice, "three");
    assert.deepEqual(await reader.counts(bob, roomId), { main: [3, 0] });
  });

  test("count mentions as highlights, for who is mentioned", async () => {
    const roomId = await room(bob, carol);
    await house.send(roomId, alice, "hello bob", mentions(bob));
    assert.deepEqual(await reader.counts(bob, roomId), { main: [1, 1] });
    assert.deepEqual(await reader.counts(carol, roomId), { main: [1, 0] });
  });

  test("count @room as a highlight only from who may notify the room", async () => {
    const roomId = await room(bob, carol);
    await house.send(roomId, bob, "all", { "m.mentions": { room: true } });
    assert.deepEqual(await reader.counts(carol, roomId), { main: [1, 0] });
    await house.send(roomId, alice, "all", { "m.mentions": { room: true } });
    assert.deepEqual(await reader.counts(carol, roomId), { main: [2, 1] });
  });

  test("do not count what nobody is notified about", async () => {
    const roomId = await room(bob);
    const event = await house.send(roomId, alice, "a");
    await reader.read(bob, roomId, event);
    await house.send(roomId, alice, "a notice", { msgtype: "m.notice" });
    await house.rooms.messages.setState({
      roomId,
      sender: alice,
      type: "m.room.topic",
      stateKey: "",
      content: { topic: "cakes" },
    });
    assert.deepEqual(await reader.counts(bob, roomId), {});
  });

  test("start with the join: neither the time before nor the invite counts", async () => {
    const roomId = await room();
    await house.send(roomId, alice, "before");
    await house.rooms.membership.invite({ roomId, sender: alice, target: bob });
    await house.rooms.membership.join({ roomId, sender: bob });
    assert.deepEqual(await reader.counts(bob, roomId), {});
    await house.send(roomId, alice, "after");
    assert.deepEqual(await reader.counts(bob, roomId), { main: [1, 0] });
  });

  test("end with the leave, and start anew with the next join", async () => {
    const roomId = await room(bob);
    await house.send(roomId, alice, "one");
    await house.rooms.membership.leave({ roomId, sender: bob });
    await house.send(roomId, alice, "two");
    await house.rooms.membership.join({ roomId, sender: bob });
    assert.deepEqual(await reader.counts(bob, roomId), {});
    await house.send(roomId, alice, "three");
    assert.deepEqual(await reader.counts(bob, roomId), { main: [1, 0] });
  });

  test("a redacted event counts no longer", async () => {
    const roomId = await room(bob);
    await house.send(roomId, alice, "one");
    const event = await house.send(roomId, alice, "bob", mentions(bob));
    assert.deepEqual(await reader.counts(bob, roomId), { main: [2, 1] });
    await house.rooms.messages.redact({ roomId, sender: alice, redacts: event, content: {} });
    assert.deepEqual(await reader.counts(bob, roomId), { main: [1, 0] });
  });

  test("a new display name changes nothing that is unread", async () => {
    const roomId = await room(bob);
    await house.send(roomId, alice, "one");
    await house.rooms.membership.updateProfile(bob, { displayname: "Bobby" });
    assert.deepEqual(await reader.counts(bob, roomId), { main: [1, 0] });
  });

  test("messages of ignored users do not count", async () => {
    const roomId = await room(bob, carol);
    const place = { userId: carol, type: "m.ignored_user_list" };
    await reader.accountData.put(place, { ignored_users: { [bob]: {} } });
    await house.send(roomId, bob, "one");
    assert.deepEqual(await reader.counts(carol, roomId), {});
    await reader.accountData.put(place, { ignored_users: {} });
    await house.send(roomId, bob, "two");
    assert.deepEqual(await reader.counts(carol, roomId), { main: [1, 0] });
  });

  test("follow the rules that a user sets, the display name included", async () => {
    const roomId = await room(bob, carol);
    await house.rooms.membership.updateProfile(carol, { displayname: "Carol Danvers" });
    await reader.pushRules.put(carol, {
      kind: "override",
      ruleId: "name",
      body: {
        conditions: [{ kind: "contains_display_name" }],
        actions: ["notify", { set_tweak: "highlight" }],
      },
    });
    await reader.pushRules.put(bob, { kind: "room", ruleId: roomId, body: { actions: [] } });
    await house.send(roomId, alice, "carol danvers, look");
    await house.send(roomId, alice, "carol, look");
    assert.deepEqual(await reader.counts(carol, roomId), { main: [2, 1] });
    assert.deepEqual(await reader.counts(bob, roomId), {});
    await reader.pushRules.remove(bob, "room", roomId);
    await house.send(roomId, alice, "again");
    assert.deepEqual(await reader.counts(bob, roomId), { main: [1, 0] });
  });
});

suite("reading", () => {
  test("clears what came up to the event, and nothing after it", async () => {
    const roomId = await room(bob);
    await house.send(roomId, alice, "one");
    const second = await house.send(roomId, alice, "two");
    const third = await house.send(roomId, alice, "three", mentions(bob));
    assert.deepEqual(await reader.counts(bob, roomId), { main: [3, 1] });
    await reader.read(bob, roomId, second);
    assert.deepEqual(await reader.counts(bob, roomId), { main: [1, 1] });
    await reader.receipts.send(bob, roomId, "m.read.private", third);
    assert.deepEqual(await reader.counts(bob, roomId), {});
    await reader.receipts.send(bob, roomId, "m.read.private", second);
    await reader.read(bob, roomId, third);
    assert.deepEqual(await reader.counts(bob, roomId), {});
  });

  test("of one user leaves the counts of others", async () => {
    const roomId = await room(bob, carol);
    const event = await house.send(roomId, alice, "one");
    await reader.read(bob, roomId, event);
    assert.deepEqual(await reader.counts(bob, roomId), {});
    assert.deepEqual(await reader.counts(carol, roomId), { main: [1, 0] });
  });

  test("keeps threads apart, unless the receipt has none", async () => {
    const roomId = await room(bob);
    const root = await house.send(roomId, alice, "root");
    const reply = await house.send(roomId, alice, "reply", inThread(root));
    await house.send(roomId, alice, "reaction to it", {
      "m.relates_to": { rel_type: "m.reference", event_id: reply },
    });
    const last = await house.send(roomId, alice, "last");
    assert.deepEqual(await reader.counts(bob, roomId), { main: [2, 0], [root]: [2, 0] });
    await reader.read(bob, roomId, last, "main");
    assert.deepEqual(await reader.counts(bob, roomId), { [root]: [2, 0] });
    await reader.read(bob, roomId, reply, root);
    assert.deepEqual(await reader.counts(bob, roomId), { [root]: [1, 0] });
    await reader.read(bob, roomId, last);
    assert.deepEqual(await reader.counts(bob, roomId), {});
  });

  test("happens also by sending, in the thread that is sent to", async () => {
    const roomId = await room(bob);
    const root = await house.send(roomId, alice, "root");
    await house.send(roomId, alice, "reply", inThread(root));
    await house.send(roomId, bob, "mine");
    assert.deepEqual(await reader.counts(bob, roomId), { [root]: [1, 0] });
    await house.send(roomId, bob, "mine", inThread(root));
    assert.deepEqual(await reader.counts(bob, roomId), {});
  });
});

suite("the consumer", () => {
  test("counts once what it finds in one batch or many, and after a restart", async () => {
    const roomId = await room(bob);
    const events = await Promise.all(
      Array.from({ length: 40 }, (_, i) => house.send(roomId, alice, `message ${i}`)),
    );
    await reader.read(bob, roomId, events[10] as EventId);
    await reader.counts(bob, roomId);
    await using second = await openReader(house);
    assert.deepEqual(await second.counts(bob, roomId), await reader.counts(bob, roomId));
    await house.send(roomId, alice, "one more");
    // Two processes, of which one writes and both count.
    const [one, other] = await Promise.all([
      reader.counts(bob, roomId),
      second.counts(bob, roomId),
    ]);
    assert.deepEqual(one, other);
    const { rows } = await house.database.pool.query<{ count: number }>(
      `select count(*) as count from notifications n join rooms r on r.nid = n.room_nid
       where r.room_id = $1 and user_id = $2 and not is_read`,
      [roomId, bob],
    );
    assert.deepEqual(one, { main: [rows[0]?.count, 0] });
  });

  test("does without memory what it does with it", async () => {
    const roomId = await room(bob);
    await house.send(roomId, alice, "one");
    assert.deepEqual(await reader.counts(bob, roomId), { main: [1, 0] });
    const before = house.statements.count;
    await reader.unread.counts(bob, [roomId]);
    assert.equal(house.statements.count, before);
  });
});

suite("notifications", () => {
  test("list what the user was notified about, read or not, newest first", async () => {
    const dave: UserId = "@dave:gomin.test";
    const roomId = await room(dave);
    const first = await house.send(roomId, alice, "one");
    const second = await house.send(roomId, alice, "two", mentions(dave));
    await reader.read(dave, roomId, first);
    await reader.counts(dave, roomId);
    const viewer = { userId: dave };
    const all = await reader.unread.notifications(viewer, {
      before: undefined,
      isHighlight: false,
      limit: 10,
    });
    const shown = all.notifications.map(({ event, isRead }) => [event["event_id"], isRead]);
    assert.deepEqual(shown, [
      [second, false],
      [first, true],
    ]);
    assert.equal(all.next, undefined);
    assert.deepEqual(all.notifications[1]?.actions.length, 2);
    const page = await reader.unread.notifications(viewer, {
      before: undefined,
      isHighlight: false,
      limit: 1,
    });
    const next = await reader.unread.notifications(viewer, {
      before: page.next,
      isHighlight: false,
      limit: 1,
    });
    assert.deepEqual(next.notifications[0]?.event["event_id"], first);
    const highlights = await reader.unread.notifications(viewer, {
      before: undefined,
      isHighlight: true,
      limit: 10,
    });
    assert.deepEqual(
      highlights.notifications.map(({ event }) => event["event_id"]),
      [second],
    );
  });

  test("an invite is one, until it is answered", async () => {
    const erin: UserId = "@erin:gomin.test";
    const roomId = await room();
    await house.rooms.membership.invite({ roomId, sender: alice, target: erin });
    const list = async (): Promise<unknown[]> => {
      await reader.counts(erin, roomId);
      const page = await reader.unread.notifications(
        { userId: erin },
        { before: undefined, isHighlight: false, limit: 10 },
      );
      return page.notifications.map(({ event, isRead }) => [event["type"], isRead]);
    };
    assert.deepEqual(await list(), [["m.room.member", false]]);
    await house.rooms.membership.join({ roomId, sender: erin });
    assert.deepEqual(await list(), [["m.room.member", true]]);
  });

  test("that were read long ago are removed", async () => {
    const frank: UserId = "@frank:gomin.test";
    const roomId = await room(frank);
    await reader.read(frank, roomId, await house.send(roomId, alice, "one"));
    await house.send(roomId, alice, "two");
    await reader.counts(frank, roomId);
    house.clock.now += 31 * 24 * 3_600_000;
    await reader.unread.sweep();
    const page = await reader.unread.notifications(
      { userId: frank },
      { before: undefined, isHighlight: false, limit: 10 },
    );
    assert.deepEqual(
      page.notifications.map(({ isRead }) => isRead),
      [false],
    );
  });
});
