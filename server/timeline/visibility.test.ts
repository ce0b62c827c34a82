import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import * as events from "../../storage/events.ts";
import type { StoredEvent } from "../../storage/events.ts";
import { openTestHouse, type TestHouse } from "../sync/testing.ts";

const alice: UserId = "@alice:gomin.test";
const stranger: UserId = "@stranger:gomin.test";
const SETTINGS = ["world_readable", "shared", "invited", "joined"] as const;

let house: TestHouse;
let count = 0;
before(async () => {
  house = await openTestHouse();
});
after(async () => {
  await house[Symbol.asyncDispose]();
});

async function get(eventId: EventId): Promise<StoredEvent> {
  const event = await events.findById(house.database.db, eventId);
  assert.ok(event);
  return event;
}

async function sees(userId: UserId, eventId: EventId): Promise<boolean> {
  const stored = await get(eventId);
  return (await house.timeline.visibility.visibleTo(userId, [stored])).length === 1;
}

async function roomWith(setting: string | undefined): Promise<RoomId> {
  const content = { history_visibility: setting };
  return house.rooms.create({
    creator: alice,
    preset: "public_chat",
    initialState: setting === undefined ? [] : [{ type: "m.room.history_visibility", content }],
  });
}

/** Messages before the invite, between invite and join, while joined, and after leaving. */
async function story(roomId: RoomId, userId: UserId): Promise<EventId[]> {
  const { membership } = house.rooms;
  const messages = [await house.send(roomId, alice, "before")];
  await membership.invite({ roomId, sender: alice, target: userId });
  messages.push(await house.send(roomId, alice, "invited"));
  await membership.join({ roomId, sender: userId });
  messages.push(await house.send(roomId, alice, "joined"));
  await membership.leave({ roomId, sender: userId });
  messages.push(await house.send(roomId, alice, "left"));
  return messages;
}

suite("V086: history visibility", () => {
  const whenLeft: Record<(typeof SETTINGS)[number], boolean[]> = {
    world_readable: [true, true, true, true],
    shared: [true, true, true, false],
    invited: [false, true, true, false],
    joined: [false, false, true, false],
  };
  for (const setting of SETTINGS) {
    test(`${setting}: what somebody who left sees of each time`, async () => {
      const roomId = await roomWith(setting);
      const user: UserId = `@user${++count}:gomin.test`;
      const messages = await story(roomId, user);
      const seen = await Promise.all(messages.map((id) => sees(user, id)));
      assert.deepEqual(seen, whenLeft[setting]);
      // Nothing but what the world may read is for strangers.
      const strange = await Promise.all(messages.map((id) => sees(stranger, id)));
      assert.deepEqual(
        strange,
        messages.map(() => setting === "world_readable"),
      );
    });

    test(`${setting}: what somebody who joined again sees of the time between`, async () => {
      const roomId = await roomWith(setting);
      const user: UserId = `@user${++count}:gomin.test`;
      const messages = await story(roomId, user);
      await house.rooms.membership.join({ roomId, sender: user });
      const seen = await Promise.all(messages.map((id) => sees(user, id)));
      const isShared = setting === "shared" || setting === "world_readable";
      assert.deepEqual(seen, [...whenLeft[setting].slice(0, 3), isShared]);
    });
  }

  test("a setting that is unknown, or none, means shared", async () => {
    for (const setting of ["everybody", undefined]) {
      const roomId = await roomWith(setting);
      const user: UserId = `@user${++count}:gomin.test`;
      const messages = await story(roomId, user);
      const seen = await Promise.all(messages.map((id) => sees(user, id)));
      assert.deepEqual(seen, whenLeft.shared);
    }
  });

  test("an event counts with the setting at its time, not with a later one", async () => {
    const roomId = await roomWith("joined");
    const early = await house.send(roomId, alice, "private");
    const change = await house.rooms.messages.setState({
      roomId,
      sender: alice,
      type: "m.room.history_visibility",
      stateKey: "",
      content: { history_visibility: "world_readable" },
    });
    const late = await house.send(roomId, alice, "public");
    assert.deepEqual(await Promise.all([early, change, late].map((id) => sees(stranger, id))), [
      false,
      true,
      true,
    ]);
  });

  test("who forgot a room sees nothing of it any more", async () => {
    const roomId = await roomWith("shared");
    const user: UserId = `@user${++count}:gomin.test`;
    const messages = await story(roomId, user);
    await house.rooms.membership.forget(roomId, user);
    const seen = await Promise.all(messages.map((id) => sees(user, id)));
    assert.deepEqual(seen, [false, false, false, false]);
  });

  test("a member sees the create event, an invited user what came with the invite and after", async () => {
    const roomId = await roomWith("invited");
    const user: UserId = `@user${++count}:gomin.test`;
    await house.rooms.membership.invite({ roomId, sender: alice, target: user });
    const all = await events.timeline(
      house.database.db,
      (await get(await house.send(roomId, alice, "x"))).roomNid,
      "forward",
      {},
      50,
    );
    const mine = await house.timeline.visibility.visibleTo(user, all);
    assert.deepEqual(
      mine.map(({ type }) => type),
      ["m.room.member", "m.room.message"],
    );
    const hers = await house.timeline.visibility.visibleTo(alice, all);
    assert.equal(hers.length, all.length);
  });
});

suite("V095: fails closed", () => {
  test("an event without state, one that was rejected and one that was soft-failed are hidden", async () => {
    const roomId = await roomWith("world_readable");
    const event = await get(await house.send(roomId, alice, "x"));
    const { visibility } = house.timeline;
    assert.equal((await visibility.visibleTo(stranger, [event])).length, 1);
    for (const odd of [
      { snapshotBefore: undefined, snapshotAfter: undefined, position: undefined },
      { rejected: "auth" },
      { softFailed: true },
    ]) {
      assert.deepEqual(await visibility.visibleTo(stranger, [{ ...event, ...odd }]), []);
      assert.deepEqual(await visibility.visibleTo(alice, [{ ...event, ...odd }]), []);
    }
  });
});

test("the reader's membership comes with each event", async () => {
  const roomId = await roomWith("world_readable");
  const user: UserId = `@user${++count}:gomin.test`;
  const messages = await story(roomId, user);
  const stored = await Promise.all(messages.map(get));
  const seen = await house.timeline.visibility.check(user, stored);
  assert.deepEqual(
    seen.map(({ membership }) => membership),
    ["leave", "invite", "join", "leave"],
  );
});

test("messages of ignored users are hidden, their state is not", async () => {
  const roomId = await roomWith("shared");
  const user: UserId = `@user${++count}:gomin.test`;
  await house.rooms.membership.join({ roomId, sender: user });
  const message = await house.send(roomId, alice, "x");
  const topic = await house.rooms.messages.setState({
    roomId,
    sender: alice,
    type: "m.room.topic",
    stateKey: "",
    content: { topic: "y" },
  });
  await house.setAccountData(user, "m.ignored_user_list", {
    ignored_users: { [alice]: {}, [user]: {}, "not a user": {} },
  });
  assert.deepEqual([await sees(user, message), await sees(user, topic)], [false, true]);
  assert.equal(await sees(user, await house.send(roomId, user, "mine")), true);
  await house.setAccountData(user, "m.ignored_user_list", { ignored_users: "nobody" });
  assert.equal(await sees(user, message), true);
});
