import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { after, before, suite, test } from "node:test";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { bodies, eventsAt, openTestHouse, type TestHouse } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";
const LAZY = JSON.stringify({ room: { state: { lazy_load_members: true } } });

let house: TestHouse;
let roomId: RoomId;
before(async () => {
  house = await openTestHouse();
  roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
  await house.rooms.membership.join({ roomId, sender: bob });
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

/** The statements that something sends. */
async function statementsOf(work: () => Promise<unknown>): Promise<number> {
  const before = house.statements.count;
  await work();
  return house.statements.count - before;
}

suite("an incremental sync", () => {
  test("is compared with a first one, which does send statements", async () => {
    assert.ok((await statementsOf(() => house.answer(bob))) > 0);
  });

  test("sends no statement where the tail covers it", async () => {
    for (const filter of [undefined, LAZY]) {
      let { next_batch: since } = await house.answer(bob, { filter });
      await house.send(roomId, alice, "the first after a start");
      since = (await house.answer(bob, { since, filter })).next_batch;
      const eventId = await house.send(roomId, alice, "hello");
      await house.send(roomId, alice, "again", {
        "m.relates_to": { rel_type: "m.thread", event_id: eventId },
      });
      await house.setReceipt({ roomId, userId: alice, type: "m.read", eventId });
      await house.setAccountData(bob, "m.direct", { now: Math.random() });
      const count = await statementsOf(async () => {
        const answer = await house.answer(bob, { since, filter, timeoutMs: 1000 });
        assert.deepEqual(bodies(answer, roomId), ["hello", "again"]);
        assert.equal(eventsAt(answer, "rooms", "join", roomId, "ephemeral").length, 1);
        since = answer.next_batch;
      });
      assert.equal(count, 0);
      assert.equal(await statementsOf(() => house.answer(bob, { since, filter })), 0);
    }
  });

  test("sends none either for a gap that the tail covers, once state is known", async () => {
    const { next_batch: since } = await house.answer(bob);
    for (let i = 0; i < 20; i++) await house.send(roomId, alice, `m${i}`);
    const count = await statementsOf(async () => {
      assert.equal(bodies(await house.answer(bob, { since }), roomId).length, 10);
    });
    assert.equal(count, 0);
  });

  test("asks as little for many rooms as for few", async () => {
    const carol: UserId = "@carol:gomin.test";
    for (let i = 0; i < 40; i++) {
      const other = await house.rooms.create({ creator: alice, preset: "public_chat" });
      await house.rooms.membership.join({ roomId: other, sender: carol });
    }
    await house.rooms.membership.join({ roomId, sender: carol });
    let { next_batch: since } = await house.answer(carol);
    await house.send(roomId, alice, "one");
    since = (await house.answer(carol, { since })).next_batch;
    await house.send(roomId, alice, "two");
    assert.equal(await statementsOf(() => house.answer(carol, { since })), 0);
  });
});

suite("V148: waiting clients", () => {
  test("of one user do not wake each other, and are not woken without change", async () => {
    const { next_batch: since } = await house.answer(bob);
    const other = await house.rooms.create({ creator: alice, preset: "public_chat" });
    let answers = 0;
    const polls = Array.from({ length: 50 }, async (_, i) => {
      const deviceId = `D${i}`;
      const answer = await house.answer(bob, { since, deviceId, timeoutMs: 300 });
      answers += 1;
      return answer;
    });
    await sleep(50);
    const cpu = process.cpuUsage();
    // Another room, another user's account data, a message to another device: nothing for them.
    await house.send(other, alice, "not for bob");
    await house.setAccountData(alice, "m.direct", {});
    await house.sendToDevice(bob, "ELSEWHERE", { type: "m.x" });
    await sleep(100);
    assert.equal(answers, 0);
    const { user } = process.cpuUsage(cpu);
    assert.ok(user < 100_000, `${user} µs`);
    for (const answer of await Promise.all(polls)) assert.deepEqual(bodies(answer, roomId), []);
  });

  test("of a large room do not hold up the sender's acknowledgement", async () => {
    const { next_batch: since } = await house.answer(bob);
    let answered = 0;
    const polls = Array.from({ length: 200 }, async (_, i) => {
      const answer = await house.answer(bob, { since, deviceId: `L${i}`, timeoutMs: 5000 });
      answered += 1;
      return answer;
    });
    await sleep(100);
    await house.send(roomId, alice, "for all");
    assert.ok(answered < 100, `${answered} were answered before the sender`);
    for (const answer of await Promise.all(polls)) {
      assert.deepEqual(bodies(answer, roomId), ["for all"]);
    }
  });
});
