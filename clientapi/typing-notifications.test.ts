import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { InProcessStore } from "../server/ephemeral/in-process-store.ts";
import { openTestHouse, type TestHouse } from "../server/sync/testing.ts";
import { Typing } from "../server/typing/typing.ts";
import type { RoomId, UserId } from "../spec/identifiers.ts";
import { type Answer, serveRoutes, type TestHttp } from "./testing.ts";
import { typingNotifications } from "./typing-notifications.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";
const carol: UserId = "@carol:gomin.test";

let house: TestHouse;
let store: InProcessStore;
let typing: Typing;
let http: TestHttp;
let roomId: RoomId;
let now = 0;
const active: UserId[] = [];
before(async () => {
  house = await openTestHouse();
  const onError = (error: unknown): void => {
    house.errors.push(error);
  };
  store = new InProcessStore({ now: () => now, onError });
  const { memberships, stream } = house;
  const onActivity = (userId: UserId): void => {
    active.push(userId);
  };
  typing = new Typing({ store, memberships, stream, onActivity, onError });
  // The token is the user.
  http = await serveRoutes(typingNotifications(typing), async (token) => ({
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
  typing[Symbol.dispose]();
  await store[Symbol.asyncDispose]();
  await house[Symbol.asyncDispose]();
  assert.deepEqual(house.errors, []);
});

function put(
  caller: UserId,
  userId: string,
  body: unknown,
  room: string = roomId,
): Promise<Answer> {
  const path = [room, "typing", userId].map(encodeURIComponent).join("/");
  return http.request("PUT", `/_matrix/client/v3/rooms/${path}`, body, caller);
}

async function typists(): Promise<readonly UserId[]> {
  return (await typing.list([roomId])).get(roomId) ?? [];
}

suite("typing", () => {
  test("begins, ends by itself and ends when it is said", async () => {
    await put(alice, alice, { typing: true, timeout: 10_000 });
    await put(bob, bob, { typing: true });
    assert.deepEqual(await typists(), [alice, bob]);
    assert.deepEqual([...(await typing.rooms())], [roomId]);
    assert.deepEqual(active, [alice, bob]);
    now += 10_001;
    assert.deepEqual(await typists(), [bob]);
    await put(bob, bob, { typing: false });
    assert.deepEqual(await typists(), []);
    assert.deepEqual([...(await typing.rooms())], []);
  });

  test("lasts two minutes at most", async () => {
    await put(alice, alice, { typing: true, timeout: 2 ** 40 });
    now += 119_000;
    assert.deepEqual(await typists(), [alice]);
    now += 1001;
    assert.deepEqual(await typists(), []);
  });

  test("is news where it begins or ends, and not where it goes on", async () => {
    const before = await store.position("typing");
    for (let i = 0; i < 5; i += 1) await put(alice, alice, { typing: true });
    const begun = await store.changesAfter("typing", before);
    assert.deepEqual(begun?.keys, [roomId]);
    assert.equal(begun?.position.version, before.version + 1);
    await put(alice, alice, { typing: false });
    await put(alice, alice, { typing: false });
    assert.equal((await store.position("typing")).version, before.version + 2);
  });

  test("ends for who leaves the room", async () => {
    await put(bob, bob, { typing: true });
    await house.rooms.membership.leave({ roomId, sender: bob });
    assert.deepEqual(await typists(), []);
    await house.rooms.membership.join({ roomId, sender: bob });
  });

  test("V073: of others, or in rooms that one is not in, changes nothing", async () => {
    const cases: [Promise<Answer>, number, string][] = [
      [put(alice, bob, { typing: true }), 403, "M_FORBIDDEN"],
      [put(carol, carol, { typing: true }), 403, "M_FORBIDDEN"],
      [put(alice, alice, { typing: true }, "!unknown:gomin.test"), 403, "M_FORBIDDEN"],
      [put(alice, alice, {}), 400, "M_MISSING_PARAM"],
      [put(alice, alice, { typing: "yes" }), 400, "M_BAD_JSON"],
      [put(alice, alice, { typing: true, timeout: "1" }), 400, "M_BAD_JSON"],
      [put(alice, alice, { typing: true, timeout: -1 }), 400, "M_INVALID_PARAM"],
    ];
    for (const [asked, status, errcode] of cases) {
      const { status: answered, body } = await asked;
      assert.deepEqual([answered, body["errcode"]], [status, errcode]);
    }
    assert.deepEqual(await typists(), []);
  });
});
