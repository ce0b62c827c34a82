import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { at, eventsAt, openTestHouse, type TestHouse } from "../server/sync/testing.ts";
import { openReader, type Reader } from "../server/unread/testing.ts";
import type { EventId, RoomId, UserId } from "../spec/identifiers.ts";
import { receipts } from "./receipts.ts";
import { type Answer, serveRoutes, type TestHttp } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";
const carol: UserId = "@carol:gomin.test";

let house: TestHouse;
let reader: Reader;
let http: TestHttp;
let roomId: RoomId;
before(async () => {
  house = await openTestHouse();
  reader = await openReader(house);
  // The token is the user.
  http = await serveRoutes(receipts(reader.receipts), async (token) => ({
    userId: token as UserId,
    deviceId: "DEVICE",
    tokenId: 1,
    isAdmin: false,
    isGuest: false,
    isSuspended: false,
  }));
  roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
  await house.rooms.membership.join({ roomId, sender: bob });
});
after(async () => {
  await http[Symbol.asyncDispose]();
  await reader[Symbol.asyncDispose]();
  await house[Symbol.asyncDispose]();
  assert.deepEqual(house.errors, []);
});

function read(
  user: UserId,
  eventId: string,
  body: unknown = {},
  { type = "m.read", room = roomId }: { type?: string; room?: string } = {},
): Promise<Answer> {
  const path = [room, "receipt", type, eventId].map(encodeURIComponent).join("/");
  return http.request("POST", `/_matrix/client/v3/rooms/${path}`, body, user);
}

function mark(user: UserId, body: unknown): Promise<Answer> {
  const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/read_markers`;
  return http.request("POST", path, body, user);
}

async function listed(user: UserId): Promise<unknown[]> {
  return (await reader.receipts.list([roomId], user)).map(({ userId, type, eventId, threadId }) =>
    threadId === undefined ? [userId, type, eventId] : [userId, type, eventId, threadId],
  );
}

suite("a receipt", () => {
  test("reaches the room's members, a private one its sender only", async () => {
    const first = await house.send(roomId, alice, "one");
    const second = await house.send(roomId, alice, "two");
    const since = (await house.answer(alice)).next_batch;
    assert.equal((await read(bob, first)).status, 200);
    assert.equal((await read(bob, second, {}, { type: "m.read.private" })).status, 200);
    assert.deepEqual(await listed(alice), [[bob, "m.read", first]]);
    assert.deepEqual(await listed(bob), [
      [bob, "m.read", first],
      [bob, "m.read.private", second],
    ]);
    const answer = await house.answer(alice, { since });
    const [event] = eventsAt(answer, "rooms", "join", roomId, "ephemeral");
    assert.equal(event?.["type"], "m.receipt");
    assert.deepEqual(Object.keys(at(event, "content") as object), [first]);
  });

  test("never moves back, and each thread has its own", async () => {
    const root = await house.send(roomId, alice, "root");
    const reply = await house.send(roomId, alice, "reply", {
      "m.relates_to": { rel_type: "m.thread", event_id: root },
    });
    const last = await house.send(roomId, alice, "last");
    await read(bob, last);
    await read(bob, root);
    await read(bob, root, { thread_id: "main" });
    await read(bob, reply, { thread_id: root });
    const own = await listed(alice);
    assert.deepEqual(own.slice(-3), [
      [bob, "m.read", last],
      [bob, "m.read", root, "main"],
      [bob, "m.read", reply, root],
    ]);
  });

  test("V149: sent a thousand times is one entry of the stream", async () => {
    const event = await house.send(roomId, alice, "read me");
    const before = house.stream.position;
    await Promise.all(Array.from({ length: 500 }, () => reader.read(bob, roomId, event)));
    for (let i = 0; i < 500; i += 1) await reader.read(bob, roomId, event);
    assert.equal(house.stream.position, before + 1);
  });

  test("of which a later one overtakes an earlier one stays where it is furthest", async () => {
    const events: EventId[] = [];
    for (let i = 0; i < 5; i += 1) events.push(await house.send(roomId, alice, `${i}`));
    await Promise.all(events.toReversed().map((event) => reader.read(bob, roomId, event)));
    const last = (await listed(alice)).findLast((receipt) => (receipt as unknown[]).length === 3);
    assert.deepEqual(last, [bob, "m.read", events[4]]);
  });

  test("is refused where it makes no sense", async () => {
    const root = await house.send(roomId, alice, "root");
    const reply = await house.send(roomId, alice, "reply", {
      "m.relates_to": { rel_type: "m.thread", event_id: root },
    });
    const otherRoom = await house.rooms.create({ creator: alice, preset: "public_chat" });
    const other = await house.send(otherRoom, alice, "elsewhere");
    const cases: [() => Promise<Answer>, number, string][] = [
      [() => read(carol, root), 403, "M_FORBIDDEN"],
      [() => read(bob, root, {}, { room: "!unknown:gomin.test" }), 403, "M_FORBIDDEN"],
      [() => read(bob, other), 404, "M_NOT_FOUND"],
      [() => read(bob, "$unknown"), 404, "M_NOT_FOUND"],
      [() => read(bob, "unknown"), 400, "M_INVALID_PARAM"],
      [() => read(bob, root, {}, { type: "m.unknown" }), 400, "M_INVALID_PARAM"],
      [() => read(bob, root, { thread_id: "" }), 400, "M_INVALID_PARAM"],
      [() => read(bob, root, { thread_id: 1 }), 400, "M_BAD_JSON"],
      [() => read(bob, root, { thread_id: reply }), 400, "M_INVALID_PARAM"],
      [() => read(bob, reply, { thread_id: "main" }), 400, "M_INVALID_PARAM"],
      [
        () => read(bob, root, { thread_id: "main" }, { type: "m.fully_read" }),
        400,
        "M_INVALID_PARAM",
      ],
      [() => mark(bob, { "m.read": 1 }), 400, "M_BAD_JSON"],
      [() => mark(bob, { "m.read": "x" }), 400, "M_INVALID_PARAM"],
      [() => mark(bob, { "m.read": other }), 404, "M_NOT_FOUND"],
      [() => mark(carol, { "m.read": root }), 403, "M_FORBIDDEN"],
    ];
    for (const [ask, status, errcode] of cases) {
      const answer = await ask();
      assert.deepEqual([answer.status, answer.body["errcode"]], [status, errcode], ask.toString());
    }
  });
});

suite("the fully read marker", () => {
  const find = () => reader.accountData.find({ userId: bob, roomId, type: "m.fully_read" });

  test("is account data of the room, and never moves back", async () => {
    const first = await house.send(roomId, alice, "one");
    const second = await house.send(roomId, alice, "two");
    assert.equal((await read(bob, second, "", { type: "m.fully_read" })).status, 200);
    assert.deepEqual(await find(), { event_id: second });
    assert.equal((await mark(bob, { "m.fully_read": first })).status, 200);
    assert.deepEqual(await find(), { event_id: second });
  });

  test("moves with receipts, all or none", async () => {
    const event = await house.send(roomId, alice, "one");
    const refused = await mark(bob, { "m.fully_read": event, "m.read": "$unknown" });
    assert.equal(refused.status, 404);
    assert.notDeepEqual(await find(), { event_id: event });
    await mark(bob, { "m.fully_read": event, "m.read": event, "m.read.private": event });
    assert.deepEqual(await find(), { event_id: event });
    assert.deepEqual((await listed(bob)).slice(-2), [
      [bob, "m.read", event],
      [bob, "m.read.private", event],
    ]);
  });
});
