import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, suite, test } from "node:test";
import { MatrixError } from "../../spec/errors.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { ClientGone, Draining } from "../route.ts";
import { at, eventsAt, openTestHouse, type TestHouse } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";

let house: TestHouse;
let roomId: RoomId;
let isLoggedOut = false;
before(async () => {
  house = await openTestHouse({
    hasPresence: true,
    sync: {
      async assertSession() {
        if (isLoggedOut) throw new MatrixError("M_UNKNOWN_TOKEN", "logged out");
      },
    },
  });
  roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
  await house.rooms.membership.join({ roomId, sender: bob });
});
after(async () => {
  assert.deepEqual(house.errors, []);
  await house[Symbol.asyncDispose]();
});

async function token(userId: UserId, deviceId?: string): Promise<string> {
  return (await house.answer(userId, deviceId === undefined ? {} : { deviceId })).next_batch;
}

suite("messages to devices", () => {
  test("are told again until a later token acknowledges them, then removed", async () => {
    const since = await token(bob, "A");
    await house.sendToDevice(bob, "A", { type: "m.x", sender: alice, content: { n: 1 } });
    await house.sendToDevice(bob, "B", { type: "m.x", sender: alice, content: { n: 2 } });
    for (let i = 0; i < 2; i++) {
      const answer = await house.answer(bob, { since, deviceId: "A" });
      assert.deepEqual(eventsAt(answer, "to_device"), [
        { type: "m.x", sender: alice, content: { n: 1 } },
      ]);
    }
    assert.equal(house.stores.toDevice.length, 2);
    const told = await house.answer(bob, { since, deviceId: "A" });
    const next = await house.answer(bob, { since: told.next_batch, deviceId: "A" });
    assert.deepEqual(eventsAt(next, "to_device"), []);
    assert.deepEqual(
      house.stores.toDevice.map(({ deviceId }) => deviceId),
      ["B"],
    );
  });

  test("wake their device only", async () => {
    const since = await token(bob, "A");
    const other = await token(bob, "C");
    const waiting = house.answer(bob, { since, deviceId: "A", timeoutMs: 5000 });
    const notConcerned = house.answer(bob, { since: other, deviceId: "C", timeoutMs: 100 });
    await house.sendToDevice(bob, "A", { type: "m.y", sender: alice, content: {} });
    assert.equal(eventsAt(await waiting, "to_device").length, 1);
    assert.equal(eventsAt(await notConcerned, "to_device").length, 0);
  });

  test("come a hundred at a time, none lost", async () => {
    let since = await token(bob, "D");
    for (let n = 0; n < 230; n++) {
      await house.sendToDevice(bob, "D", { type: "m.z", sender: alice, content: { n } });
    }
    const told: unknown[] = [];
    for (const expected of [100, 100, 30, 0]) {
      const answer = await house.answer(bob, { since, deviceId: "D" });
      const messages = eventsAt(answer, "to_device");
      assert.equal(messages.length, expected);
      told.push(...messages.map((message) => at(message, "content", "n")));
      since = answer.next_batch;
    }
    assert.deepEqual(
      told,
      Array.from({ length: 230 }, (_, n) => n),
    );
  });

  test("without any, storage is not asked", async () => {
    let since = await token(bob, "E");
    since = (await house.answer(bob, { since, deviceId: "E" })).next_batch;
    house.stores.toDeviceCalls.length = 0;
    for (let i = 0; i < 5; i++) {
      await house.send(roomId, alice, "hello");
      since = (await house.answer(bob, { since, deviceId: "E" })).next_batch;
    }
    assert.deepEqual(house.stores.toDeviceCalls, []);
  });
});

suite("keys", () => {
  test("counts are in every answer, and a change of them wakes the device", async () => {
    const first = await house.answer(bob, { deviceId: "A" });
    assert.deepEqual(first["device_one_time_keys_count"], { signed_curve25519: 0 });
    assert.deepEqual(first["device_unused_fallback_key_types"], []);
    assert.equal(first["device_lists"], undefined);
    const since = first.next_batch;
    const waiting = house.answer(bob, { since, deviceId: "A", timeoutMs: 5000 });
    house.stores.keyCounts = {
      oneTimeKeys: { signed_curve25519: 50 },
      unusedFallbackKeys: ["signed_curve25519"],
    };
    await house.stream.append({
      entries: [{ kind: "one_time_keys", userId: bob, deviceId: "A" }],
    });
    const answer = await waiting;
    assert.deepEqual(answer["device_one_time_keys_count"], { signed_curve25519: 50 });
    assert.deepEqual(answer["device_unused_fallback_key_types"], ["signed_curve25519"]);
    assert.deepEqual(answer["device_lists"], { changed: [], left: [] });
  });
});

suite("account data", () => {
  test("global and of rooms: the last value counts, and wakes the user's devices", async () => {
    const since = await token(bob);
    const waiting = house.answer(bob, { since, timeoutMs: 5000 });
    await house.setAccountData(bob, "m.direct", { n: 1 });
    assert.deepEqual(eventsAt(await waiting, "account_data"), [
      { type: "m.direct", content: { n: 1 } },
    ]);
    await house.setAccountData(bob, "m.direct", { n: 2 });
    await house.setAccountData(bob, "m.tag", { tags: { x: {} } }, roomId);
    await house.setAccountData(alice, "m.direct", { secret: true });
    const answer = await house.answer(bob, { since });
    assert.deepEqual(eventsAt(answer, "account_data"), [{ type: "m.direct", content: { n: 2 } }]);
    assert.deepEqual(eventsAt(answer, "rooms", "join", roomId, "account_data"), [
      { type: "m.tag", content: { tags: { x: {} } } },
    ]);
  });

  test("what was too large for the stream is read where it is stored", async () => {
    const since = await token(bob);
    await house.stream.append({
      entries: [{ kind: "account_data", userId: bob, data: { type: "big" } }],
      write: async (_, [position = 0]) => {
        const own = house.stores.accountData.get(bob) ?? [];
        house.stores.accountData.set(bob, [...own, { type: "big", content: { x: 1 }, position }]);
      },
    });
    const answer = await house.answer(bob, { since });
    assert.deepEqual(eventsAt(answer, "account_data"), [{ type: "big", content: { x: 1 } }]);
  });
});

suite("ephemeral events", () => {
  test("receipts come as one event; private ones reach nobody else", async () => {
    const eventId = await house.send(roomId, alice, "read me");
    const since = await token(bob);
    const own = await token(alice);
    await house.setReceipt({ roomId, userId: alice, type: "m.read", eventId });
    await house.setReceipt({ roomId, userId: bob, type: "m.read", eventId, threadId: "main" });
    await house.setReceipt({ roomId, userId: alice, type: "m.read.private", eventId });
    const content = (answer: unknown): unknown =>
      at(eventsAt(answer, "rooms", "join", roomId, "ephemeral")[0], "content");
    const seen = content(await house.answer(bob, { since }));
    assert.deepEqual(Object.keys(at(seen, eventId) as object), ["m.read"]);
    assert.equal(at(seen, eventId, "m.read", bob, "thread_id"), "main");
    const private_ = content(await house.answer(alice, { since: own }));
    assert.deepEqual(Object.keys(at(private_, eventId) as object).sort(), [
      "m.read",
      "m.read.private",
    ]);
    const first = content(await house.answer(bob));
    assert.deepEqual(Object.keys(at(first, eventId) as object), ["m.read"]);
  });

  test("one event read in two threads takes two events", async () => {
    const eventId = await house.send(roomId, alice, "read me twice");
    const since = await token(bob);
    await house.setReceipt({ roomId, userId: alice, type: "m.read", eventId });
    await house.setReceipt({ roomId, userId: alice, type: "m.read", eventId, threadId: "main" });
    const answer = await house.answer(bob, { since });
    const events = eventsAt(answer, "rooms", "join", roomId, "ephemeral");
    assert.deepEqual(
      events.map((event) => at(event, "content", eventId, "m.read", alice, "thread_id")),
      [undefined, "main"],
    );
  });

  test("typing wakes the room's members, and its end is told too", async () => {
    let since = await token(bob);
    const waiting = house.answer(bob, { since, timeoutMs: 5000 });
    const topic = { topic: "typing" };
    await house.ephemeral.putMember(`typing:${roomId}`, alice, "", topic);
    await house.ephemeral.touch("typing", roomId);
    const answer = await waiting;
    const typing = eventsAt(answer, "rooms", "join", roomId, "ephemeral");
    assert.deepEqual(typing, [{ type: "m.typing", content: { user_ids: [alice] } }]);
    since = answer.next_batch;
    await house.ephemeral.removeMember(`typing:${roomId}`, alice);
    await house.ephemeral.touch("typing", roomId);
    const next = await house.answer(bob, { since, timeoutMs: 5000 });
    assert.deepEqual(eventsAt(next, "rooms", "join", roomId, "ephemeral"), [
      { type: "m.typing", content: { user_ids: [] } },
    ]);
    const last = await house.answer(bob, { since: next.next_batch });
    assert.equal(at(last, "rooms", "join", roomId), undefined);
  });
});

suite("presence", () => {
  test("of users who share a room; the parameter says what the poll shows", async () => {
    const carol: UserId = "@carol:gomin.test";
    house.stores.presence.set(alice, { presence: "online" });
    house.stores.presence.set(carol, { presence: "online" });
    const first = await house.answer(bob, { setPresence: "offline" });
    assert.deepEqual(eventsAt(first, "presence"), [
      { type: "m.presence", sender: alice, content: { presence: "online" } },
    ]);
    assert.ok(house.stores.synced.includes(`${bob} DEVICE offline`));
    const since = first.next_batch;
    const waiting = house.answer(bob, { since, timeoutMs: 5000 });
    house.stores.presence.set(alice, { presence: "unavailable" });
    await house.ephemeral.touch("presence", carol);
    await house.ephemeral.touch("presence", alice);
    const answer = await waiting;
    assert.deepEqual(eventsAt(answer, "presence"), [
      { type: "m.presence", sender: alice, content: { presence: "unavailable" } },
    ]);
    const filter = JSON.stringify({ presence: { not_senders: [alice] } });
    assert.deepEqual(eventsAt(await house.answer(bob, { since, filter }), "presence"), []);
  });
});

suite("unread counts", () => {
  test("take account of the events they come with, by thread where the filter asks", async () => {
    let counted = 0;
    const threads = new Map([["$root" as const, { notifications: 2, highlights: 1 }]]);
    await using counting = await openTestHouse({
      beside: house,
      sync: {
        unread: {
          get position() {
            return counted;
          },
          async reached(position) {
            await sleep(20);
            counted = position;
          },
          async counts(_, roomIds) {
            const main = { notifications: counted, highlights: 0 };
            return new Map(roomIds.map((id) => [id, { main, threads }]));
          },
        },
      },
    });
    const { next_batch: since } = await counting.answer(bob);
    await counting.send(roomId, alice, "count me");
    const answer = await counting.answer(bob, { since });
    const room = at(answer, "rooms", "join", roomId);
    const position = counting.stream.position;
    assert.deepEqual(at(room, "unread_notifications"), {
      notification_count: position + 2,
      highlight_count: 1,
    });
    assert.equal(at(room, "unread_thread_notifications"), undefined);
    const filter = JSON.stringify({ room: { timeline: { unread_thread_notifications: true } } });
    const threaded = at(await counting.answer(bob, { since, filter }), "rooms", "join", roomId);
    assert.deepEqual(at(threaded, "unread_notifications"), {
      notification_count: position,
      highlight_count: 0,
    });
    assert.deepEqual(at(threaded, "unread_thread_notifications"), {
      $root: { notification_count: 2, highlight_count: 1 },
    });
  });

  test("are told again when the user reads", async () => {
    const eventId = await house.send(roomId, alice, "read me");
    const since = await token(bob);
    await house.setReceipt({ roomId, userId: bob, type: "m.read.private", eventId });
    const filter = JSON.stringify({ room: { ephemeral: { types: [] } } });
    const answer = await house.answer(bob, { since, filter });
    assert.deepEqual(at(answer, "rooms", "join", roomId, "unread_notifications"), {
      notification_count: 0,
      highlight_count: 0,
    });
  });
});

suite("waiting", () => {
  test("ends when the client goes away, and with an answer when the server drains", async () => {
    const since = await token(bob);
    const gone = new AbortController();
    const leaving = house.answer(bob, { since, timeoutMs: 5000, signal: gone.signal });
    gone.abort(new ClientGone("gone"));
    await assert.rejects(leaving, ClientGone);
    const drain = new AbortController();
    const waiting = house.answer(bob, { since, timeoutMs: 5000, signal: drain.signal });
    drain.abort(new Draining("stopping"));
    assert.ok((await waiting).next_batch.length > 0);
  });

  test("ends with an error when the session does", async () => {
    const since = await token(bob);
    const waiting = house.answer(bob, { since, timeoutMs: 5000 });
    isLoggedOut = true;
    await house.stream.append({ entries: [{ kind: "session", userId: bob }] });
    await assert.rejects(waiting, { errcode: "M_UNKNOWN_TOKEN" });
    isLoggedOut = false;
  });
});
