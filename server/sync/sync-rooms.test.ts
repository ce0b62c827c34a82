import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { type Answer, at, bodies, eventsAt, openTestHouse, type TestHouse } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";

let house: TestHouse;
/** Another process, which has the tail of the stream but does not know the users yet. */
let tailHouse: TestHouse;
let count = 0;
before(async () => {
  house = await openTestHouse();
  tailHouse = await openTestHouse({ beside: house });
});
after(async () => {
  assert.deepEqual([...house.errors, ...tailHouse.errors], []);
  await tailHouse[Symbol.asyncDispose]();
  await house[Symbol.asyncDispose]();
});

function newUser(): UserId {
  return `@user${++count}:gomin.test`;
}

function createRoom(invite: UserId[] = [], initialState: JsonObject[] = []): Promise<RoomId> {
  return house.rooms.create({
    creator: alice,
    preset: "public_chat",
    invite,
    initialState: initialState as { type: string; content: JsonObject }[],
  });
}

async function joinedRoom(user: UserId): Promise<RoomId> {
  const roomId = await createRoom();
  await house.rooms.membership.join({ roomId, sender: user });
  return roomId;
}

function setName(roomId: RoomId, name: string): Promise<EventId> {
  return house.rooms.messages.setState({
    roomId,
    sender: alice,
    type: "m.room.name",
    stateKey: "",
    content: { name },
  });
}

function stateOf(answer: Answer, roomId: RoomId, section = "join", name = "state"): string[] {
  return eventsAt(answer, "rooms", section, roomId, name).map(
    (event) => `${String(event["type"])} ${String(event["state_key"])}`,
  );
}

/** The same window three ways: from the user's log, from the tail, and from storage. */
async function threeWays(
  user: UserId,
  since: string,
  check: (answer: Answer) => void,
  filter?: JsonObject,
): Promise<void> {
  const request = { since, ...(filter === undefined ? {} : { filter: JSON.stringify(filter) }) };
  check(await house.answer(user, request));
  await tailHouse.stream.reached(house.stream.position);
  check(await tailHouse.answer(user, request));
  await using late = await openTestHouse({ beside: house });
  check(await late.answer(user, request));
}

suite("gaps", () => {
  test("more events than the limit make a limited timeline, with the state at its start", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    await setName(roomId, "old");
    await setName(roomId, "new");
    for (let i = 1; i <= 5; i++) await house.send(roomId, alice, `m${i}`);
    await setName(roomId, "newest");
    await house.send(roomId, alice, "m6");
    await threeWays(
      bob,
      since,
      (answer) => {
        assert.deepEqual(bodies(answer, roomId), ["m5", "m6"]);
        const timeline = at(answer, "rooms", "join", roomId, "timeline");
        assert.equal(at(timeline, "limited"), true);
        const state = eventsAt(answer, "rooms", "join", roomId, "state");
        assert.deepEqual(
          state.map(({ content }) => content),
          [{ name: "new" }],
        );
      },
      { room: { timeline: { limit: 3 } } },
    );
  });

  test("exactly as many events as the limit are no gap", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    for (let i = 1; i <= 3; i++) await house.send(roomId, alice, `m${i}`);
    await threeWays(
      bob,
      since,
      (answer) => {
        assert.deepEqual(bodies(answer, roomId), ["m1", "m2", "m3"]);
        assert.equal(at(answer, "rooms", "join", roomId, "timeline", "limited"), false);
        assert.deepEqual(stateOf(answer, roomId), []);
      },
      { room: { timeline: { limit: 3 } } },
    );
  });

  test("with state_after the state is that at the end, and there is no `state`", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    await setName(roomId, "one");
    await setName(roomId, "two");
    for (const name of ["state_after", "org.matrix.msc4222.state_after"] as const) {
      const answer = await house.answer(bob, { since, stateName: name });
      const state = eventsAt(answer, "rooms", "join", roomId, name);
      assert.deepEqual(
        state.map(({ content }) => content),
        [{ name: "two" }],
      );
      assert.equal(at(answer, "rooms", "join", roomId, "state"), undefined);
    }
    const quiet = await house.answer(bob, { stateName: "state_after" });
    assert.ok(stateOf(quiet, roomId, "join", "state_after").includes("m.room.name "));
    await house.send(roomId, alice, "no change of state");
    const last = await house.answer(bob, { since: quiet.next_batch, stateName: "state_after" });
    assert.deepEqual(at(last, "rooms", "join", roomId, "state_after"), { events: [] });
  });

  test("state that the timeline's filter hides is in the state section", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    await house.send(roomId, alice, "before");
    await setName(roomId, "hidden from the timeline");
    await house.send(roomId, alice, "after");
    await threeWays(
      bob,
      since,
      (answer) => {
        assert.deepEqual(bodies(answer, roomId), ["before", "after"]);
        assert.deepEqual(stateOf(answer, roomId), ["m.room.name "]);
      },
      { room: { timeline: { types: ["m.room.message"] } } },
    );
  });

  test("a filter reaches over what it leaves out, to fill the limit", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    await house.send(roomId, alice, "first");
    for (let i = 0; i < 6; i++) await setName(roomId, `name ${i}`);
    await house.send(roomId, alice, "last");
    const filter = { room: { timeline: { limit: 2, types: ["m.room.message"] } } };
    await threeWays(
      bob,
      since,
      (answer) => assert.deepEqual(bodies(answer, roomId), ["first", "last"]),
      filter,
    );
    const first = await house.answer(bob, { filter: JSON.stringify(filter) });
    assert.deepEqual(bodies(first, roomId), ["first", "last"]);
  });
});

suite("leaving", () => {
  test("V092: who is kicked sees the kick and nothing after it", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    await house.send(roomId, alice, "before");
    await house.rooms.membership.kick({ roomId, sender: alice, target: bob, reason: "out" });
    await setName(roomId, "after");
    await house.send(roomId, alice, "after");
    let token = "";
    for (const stateName of ["state", "state_after"] as const) {
      const answer = await house.answer(bob, { since, stateName });
      assert.equal(at(answer, "rooms", "join", roomId), undefined);
      assert.deepEqual(bodies(answer, roomId, "leave"), ["before"]);
      const last = eventsAt(answer, "rooms", "leave", roomId, "timeline").at(-1);
      assert.equal(at(last, "content", "reason"), "out");
      assert.ok(!JSON.stringify(answer).includes('"after"'));
      token = answer.next_batch;
    }
    await threeWays(bob, since, (answer) => {
      assert.deepEqual(bodies(answer, roomId, "leave"), ["before"]);
      assert.ok(!JSON.stringify(answer).includes('"after"'));
    });
    await house.send(roomId, alice, "much later");
    const next = await house.answer(bob, { since: token });
    assert.deepEqual(at(next, "rooms"), { join: {}, invite: {}, knock: {}, leave: {} });
  });

  test("V092: a waiting client that is banned gets the ban, and no state after it", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    const waiting = house.answer(bob, { since, timeoutMs: 5000 });
    await house.rooms.membership.ban({ roomId, sender: alice, target: bob });
    await setName(roomId, "secret");
    const answer = await waiting;
    const [ban] = eventsAt(answer, "rooms", "leave", roomId, "timeline");
    assert.equal(at(ban, "content", "membership"), "ban");
    assert.ok(!JSON.stringify(answer).includes("secret"));
  });

  test("a first sync shows left rooms only where the filter includes them", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    await house.send(roomId, alice, "seen");
    await house.rooms.membership.leave({ roomId, sender: bob });
    await house.send(roomId, alice, "not seen");
    await setName(roomId, "not seen");
    const without = await house.answer(bob);
    assert.equal(at(without, "rooms", "leave", roomId), undefined);
    const filter = JSON.stringify({ room: { include_leave: true } });
    const answer = await house.answer(bob, { filter });
    assert.deepEqual(bodies(answer, roomId, "leave"), ["seen"]);
    assert.ok(!stateOf(answer, roomId, "leave").includes("m.room.name "));
    assert.ok(!JSON.stringify(answer).includes("not seen"));
  });

  test("a forgotten room is in no first sync; other devices learn only that it was left", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    await house.send(roomId, alice, "history");
    await house.rooms.membership.leave({ roomId, sender: bob });
    await house.rooms.membership.forget(roomId, bob);
    await threeWays(bob, since, (answer) => {
      assert.deepEqual(bodies(answer, roomId, "leave"), []);
      const [leave] = eventsAt(answer, "rooms", "leave", roomId, "timeline");
      assert.equal(at(leave, "content", "membership"), "leave");
    });
    const filter = JSON.stringify({ room: { include_leave: true } });
    const first = await house.answer(bob, { filter });
    assert.equal(at(first, "rooms", "leave", roomId), undefined);
  });

  test("an invite that is rejected, or taken back, leaves the list of invites", async () => {
    const bob = newUser();
    const roomId = await createRoom([bob]);
    const { next_batch: since } = await house.answer(bob);
    await house.send(roomId, alice, "never for bob");
    await house.rooms.membership.leave({ roomId, sender: bob });
    await threeWays(bob, since, (answer) => {
      const timeline = eventsAt(answer, "rooms", "leave", roomId, "timeline");
      assert.deepEqual(
        timeline.map((event) => at(event, "content", "membership")),
        ["leave"],
      );
      assert.deepEqual(stateOf(answer, roomId, "leave"), []);
      assert.equal(at(answer, "rooms", "invite", roomId), undefined);
    });
    const first = await house.answer(bob);
    assert.equal(at(first, "rooms", "invite", roomId), undefined);
  });
});

suite("joining", () => {
  test("who leaves and joins again between two syncs gets the whole state", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    await house.rooms.membership.leave({ roomId, sender: bob });
    await setName(roomId, "meanwhile");
    for (let i = 0; i < 12; i++) await house.send(roomId, alice, `m${i}`);
    await house.rooms.membership.join({ roomId, sender: bob });
    await threeWays(bob, since, (answer) => {
      const state = stateOf(answer, roomId);
      assert.ok(state.includes("m.room.name "));
      assert.ok(state.includes("m.room.create "));
      assert.equal(at(answer, "rooms", "leave", roomId), undefined);
      assert.equal(at(answer, "rooms", "join", roomId, "timeline", "limited"), true);
    });
  });

  test("who joins and leaves between two syncs gets the room as left", async () => {
    const bob = newUser();
    const { next_batch: since } = await house.answer(bob);
    const roomId = await joinedRoom(bob);
    await house.send(roomId, alice, "inside");
    await house.rooms.membership.leave({ roomId, sender: bob });
    await house.send(roomId, alice, "outside");
    await threeWays(bob, since, (answer) => {
      assert.deepEqual(bodies(answer, roomId, "leave"), ["inside"]);
    });
  });

  test("V086: history from before the join is hidden where the room says `joined`", async () => {
    const bob = newUser();
    const roomId = await createRoom(
      [],
      [{ type: "m.room.history_visibility", content: { history_visibility: "joined" } }],
    );
    const { next_batch: since } = await house.answer(bob);
    await house.send(roomId, alice, "before");
    await house.rooms.membership.join({ roomId, sender: bob });
    await house.send(roomId, alice, "after");
    await threeWays(bob, since, (answer) => assert.deepEqual(bodies(answer, roomId), ["after"]));
    assert.deepEqual(bodies(await house.answer(bob), roomId), ["after"]);
  });

  test("a knock shows the room's stripped state, and its refusal ends it", async () => {
    const bob = newUser();
    const roomId = await createRoom(
      [],
      [{ type: "m.room.join_rules", content: { join_rule: "knock" } }],
    );
    const { next_batch: since } = await house.answer(bob);
    await house.rooms.membership.knock({ roomId, sender: bob });
    const answer = await house.answer(bob, { since });
    const knock = eventsAt(answer, "rooms", "knock", roomId, "knock_state");
    assert.equal(at(knock.at(-1), "content", "membership"), "knock");
    assert.ok(knock.some(({ type }) => type === "m.room.create"));
    assert.ok(at(await house.answer(bob), "rooms", "knock", roomId) !== undefined);
    await house.rooms.membership.kick({ roomId, sender: alice, target: bob });
    const refused = await house.answer(bob, { since: answer.next_batch });
    assert.ok(at(refused, "rooms", "leave", roomId) !== undefined);
    assert.equal(at(await house.answer(bob), "rooms", "knock", roomId), undefined);
  });

  test("invites from ignored users are not shown, nor are their messages", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    await house.setAccountData(bob, "m.ignored_user_list", { ignored_users: { [alice]: {} } });
    const { next_batch: since } = await house.answer(bob);
    const invited = await createRoom([bob]);
    await house.send(roomId, alice, "ignored");
    await setName(roomId, "state is shown");
    await threeWays(bob, since, (answer) => {
      assert.equal(at(answer, "rooms", "invite", invited), undefined);
      assert.deepEqual(bodies(answer, roomId), []);
      const [name] = eventsAt(answer, "rooms", "join", roomId, "timeline");
      assert.equal(name?.["type"], "m.room.name");
    });
    await house.setAccountData(bob, "m.ignored_user_list", { ignored_users: {} });
    await house.send(roomId, alice, "heard again");
    assert.ok(bodies(await house.answer(bob, { since }), roomId).includes("heard again"));
  });
});

suite("full_state", () => {
  test("gives all state at once, and the timeline since the token", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const quiet = await joinedRoom(bob);
    const { next_batch: since } = await house.answer(bob);
    await house.send(roomId, alice, "news");
    const answer = await house.answer(bob, { since, isFullState: true, timeoutMs: 60_000 });
    assert.deepEqual(bodies(answer, roomId), ["news"]);
    for (const room of [roomId, quiet]) {
      assert.ok(stateOf(answer, room).includes("m.room.create "));
      assert.ok(stateOf(answer, room).includes(`m.room.member ${bob}`));
    }
    assert.deepEqual(eventsAt(answer, "rooms", "join", quiet, "timeline"), []);
  });
});

suite("filters", () => {
  test("rooms, state, timeline, account data and ephemeral events pass their own filters", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const other = await joinedRoom(bob);
    await house.setAccountData(bob, "m.tag", { tags: {} }, roomId);
    await house.setAccountData(bob, "m.direct", {});
    const eventId = await house.send(roomId, alice, "hello");
    await house.setReceipt({ roomId, userId: alice, type: "m.read", eventId });
    const filter = {
      account_data: { not_types: ["m.direct"] },
      room: {
        not_rooms: [other],
        state: { types: ["m.room.create"] },
        timeline: { not_types: ["m.room.member"], limit: 1 },
        account_data: { not_types: ["m.tag"] },
        ephemeral: { types: [] },
      },
    };
    const answer = await house.answer(bob, { filter: JSON.stringify(filter) });
    assert.equal(at(answer, "rooms", "join", other), undefined);
    assert.deepEqual(stateOf(answer, roomId), ["m.room.create "]);
    assert.deepEqual(bodies(answer, roomId), ["hello"]);
    assert.deepEqual(eventsAt(answer, "rooms", "join", roomId, "account_data"), []);
    assert.deepEqual(eventsAt(answer, "rooms", "join", roomId, "ephemeral"), []);
    assert.deepEqual(eventsAt(answer, "account_data"), []);
    const all = await house.answer(bob);
    assert.equal(eventsAt(all, "rooms", "join", roomId, "account_data").length, 1);
    assert.equal(eventsAt(all, "rooms", "join", roomId, "ephemeral").length, 1);
    assert.equal(eventsAt(all, "account_data").length, 1);
  });

  test("event_fields and event_format shape the events", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    await house.send(roomId, alice, "hello");
    const room = { timeline: { limit: 1 }, state: { types: [] } };
    const pruned = await house.answer(bob, {
      filter: JSON.stringify({ event_fields: ["type", "content.body"], room }),
    });
    assert.deepEqual(eventsAt(pruned, "rooms", "join", roomId, "timeline"), [
      { type: "m.room.message", content: { body: "hello" } },
    ]);
    const raw = await house.answer(bob, {
      filter: JSON.stringify({ event_format: "federation", room }),
    });
    const [event] = eventsAt(raw, "rooms", "join", roomId, "timeline");
    assert.ok(event?.["auth_events"] !== undefined && event["hashes"] !== undefined);
  });

  test("a stored filter is found by its ID; an unknown one is refused", async () => {
    const bob = newUser();
    await joinedRoom(bob);
    house.stores.filters.set(`${bob} 1`, { room: { rooms: [] } });
    assert.deepEqual(at(await house.answer(bob, { filter: "1" }), "rooms", "join"), {});
    for (const filter of ["2", "{", "{}x", '{"room":3}', '{"room":{"timeline":{"limit":0}}}']) {
      await assert.rejects(house.answer(bob, { filter }), /filter|JSON/i);
    }
  });
});

suite("V022: an event that cannot be read", () => {
  test("is shown without content, and takes no answer with it", async () => {
    const bob = newUser();
    const roomId = await joinedRoom(bob);
    const damaged = await setName(roomId, "of a version that is gone");
    const odd = await house.send(roomId, alice, "damaged");
    await house.send(roomId, alice, "whole");
    const { db } = house.database;
    await db.updateTable("events").set({ json: "{" }).where("event_id", "=", odd).execute();
    await db
      .updateTable("events")
      .set({ json: '{"content":null}' })
      .where("event_id", "=", damaged)
      .execute();
    await using late = await openTestHouse({ beside: house });
    const answer = await late.answer(bob);
    assert.deepEqual(bodies(answer, roomId), [undefined, "whole"]);
    assert.ok(late.errors.length > 0);
    late.errors.length = 0;
    await db
      .updateTable("rooms")
      .set({ room_version: "999" })
      .where("room_id", "=", roomId)
      .execute();
    await using later = await openTestHouse({ beside: house });
    assert.equal(bodies(await later.answer(bob), roomId).length, 2);
    later.errors.length = 0;
  });
});
