import assert from "node:assert/strict";
import { after, before, beforeEach, suite, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { InProcessStore } from "../server/ephemeral/in-process-store.ts";
import { Presence } from "../server/presence/presence.ts";
import { openTestHouse, type TestHouse } from "../server/sync/testing.ts";
import type { RoomId, UserId } from "../spec/identifiers.ts";
import type { JsonObject } from "../spec/shape.ts";
import { presence as routes } from "./presence.ts";
import { type Answer, serveRoutes, type TestHttp } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";
const carol: UserId = "@carol:gomin.test";
const MINUTE = 60_000;

let house: TestHouse;
let store: InProcessStore;
let presence: Presence;
let http: TestHttp;
let roomId: RoomId;
let now = 1_700_000_000_000;
before(async () => {
  house = await openTestHouse();
  roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
  await house.rooms.membership.join({ roomId, sender: bob });
  const onError = (error: unknown): void => {
    house.errors.push(error);
  };
  store = new InProcessStore({ now: () => now, onError });
  presence = new Presence({
    store,
    memberships: house.memberships,
    stream: house.stream,
    isLocal: (serverName) => serverName === "gomin.test",
    clock: () => now,
    onError,
  });
  // The token is the user.
  http = await serveRoutes(routes(presence), async (token) => ({
    userId: token as UserId,
    deviceId: "PHONE",
    tokenId: 1,
    isAdmin: false,
    isGuest: false,
    isSuspended: false,
  }));
});
after(async () => {
  await http[Symbol.asyncDispose]();
  presence[Symbol.dispose]();
  await store[Symbol.asyncDispose]();
  await house[Symbol.asyncDispose]();
  assert.deepEqual(house.errors, []);
});
// Everybody's devices are gone, and nobody is active.
beforeEach(() => {
  now += 60 * MINUTE;
});

function put(caller: UserId, userId: string, body: unknown): Promise<Answer> {
  const path = `/_matrix/client/v3/presence/${encodeURIComponent(userId)}/status`;
  return http.request("PUT", path, body, caller);
}

function get(caller: UserId, userId: string): Promise<Answer> {
  const path = `/_matrix/client/v3/presence/${encodeURIComponent(userId)}/status`;
  return http.request("GET", path, undefined, caller);
}

async function of(userId: UserId): Promise<JsonObject> {
  return (await get(userId, userId)).body;
}

async function version(): Promise<number> {
  return (await store.position("presence")).version;
}

suite("presence", () => {
  test("is what its user sets, and goes with the device", async () => {
    assert.deepEqual(
      (await put(alice, alice, { presence: "online", status_msg: "here" })).body,
      {},
    );
    const online = { presence: "online", last_active_ago: 0, currently_active: true };
    assert.deepEqual((await get(bob, alice)).body, { ...online, status_msg: "here" });
    await put(alice, alice, { presence: "unavailable" });
    assert.deepEqual(await of(alice), { presence: "unavailable", last_active_ago: 0 });
    await put(alice, alice, { presence: "offline", status_msg: "gone" });
    const offline = { presence: "offline", last_active_ago: 0, status_msg: "gone" };
    assert.deepEqual(await of(alice), offline);
    assert.deepEqual([...(await presence.present())], []);
    await put(alice, alice, { presence: "online" });
    assert.deepEqual([...(await presence.present())], [alice]);
    now += 4 * MINUTE;
    assert.deepEqual(await of(alice), { presence: "offline", last_active_ago: 4 * MINUTE });
    assert.deepEqual([...(await presence.present())], []);
  });

  test("comes with syncing, idles without activity, and comes back with it", async () => {
    await presence.synced(alice, "PHONE", "online");
    assert.equal((await of(alice))["presence"], "online");
    for (let i = 0; i < 12; i += 1) {
      now += MINUTE / 2;
      await presence.synced(alice, "PHONE", "online");
    }
    assert.deepEqual(await of(alice), { presence: "unavailable", last_active_ago: 6 * MINUTE });
    await house.send(roomId, alice, "hello");
    await setImmediate();
    const active = { presence: "online", last_active_ago: 0, currently_active: true };
    assert.deepEqual(await of(alice), active);
  });

  test("follows what devices say of themselves", async () => {
    await presence.synced(alice, "PHONE", "online");
    await presence.synced(alice, "LAPTOP", "online");
    await presence.synced(alice, "PHONE", "unavailable");
    assert.equal((await of(alice))["presence"], "online");
    await presence.synced(alice, "LAPTOP", "unavailable");
    assert.equal((await of(alice))["presence"], "unavailable");
  });

  test("is not shown by a client that wants to be offline", async () => {
    await presence.synced(bob, "PHONE", "offline");
    assert.equal((await of(bob))["presence"], "offline");
    await house.send(roomId, bob, "hello");
    await setImmediate();
    assert.equal((await of(bob))["presence"], "offline");
  });

  test("V148: is news where it changes, and not with each of fifty clients that sync", async () => {
    const before = await version();
    await presence.synced(alice, "PHONE0", "online");
    const arrived = await version();
    assert.ok(arrived > before);
    for (let round = 0; round < 3; round += 1) {
      for (let i = 0; i < 50; i += 1) await presence.synced(alice, `PHONE${i}`, "online");
      now += MINUTE;
    }
    assert.equal(await version(), arrived);
    const changes = await store.changesAfter("presence", {
      ...(await store.position("presence")),
      version: before,
    });
    assert.deepEqual(changes?.keys, [alice]);
  });

  test("V074: of others is neither set nor shown to who shares no room with them", async () => {
    const cases: [Promise<Answer>, number, string][] = [
      [put(alice, bob, { presence: "online" }), 403, "M_FORBIDDEN"],
      [get(carol, alice), 403, "M_FORBIDDEN"],
      [get(alice, "@nobody:gomin.test"), 403, "M_FORBIDDEN"],
      [put(alice, alice, {}), 400, "M_MISSING_PARAM"],
      [put(alice, alice, { presence: "busy" }), 400, "M_INVALID_PARAM"],
      [put(alice, alice, { presence: "online", status_msg: 1 }), 400, "M_BAD_JSON"],
      [
        put(alice, alice, { presence: "online", status_msg: "x".repeat(3000) }),
        400,
        "M_INVALID_PARAM",
      ],
    ];
    for (const [asked, status, errcode] of cases) {
      const { status: answered, body } = await asked;
      assert.deepEqual([answered, body["errcode"]], [status, errcode]);
    }
    assert.equal((await of(bob))["presence"], "offline");
  });
});
