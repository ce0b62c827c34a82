import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { Pushers } from "../server/pushers/pushers.ts";
import { openTestDatabase, type TestDatabase } from "../storage/testing.ts";
import type { UserId } from "../spec/identifiers.ts";
import { pushers as routes } from "./pushers.ts";
import { type Answer, serveRoutes, type TestHttp } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";
const URL = "https://push.example/_matrix/push/v1/notify";

let database: TestDatabase;
let pushers: Pushers;
let http: TestHttp;
let now = 0;
before(async () => {
  database = await openTestDatabase();
  pushers = new Pushers({ database, clock: () => now++ });
  // The token is the user.
  http = await serveRoutes(routes(pushers), async (token) => ({
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
  await database[Symbol.asyncDispose]();
});

const PUSHER = {
  app_id: "com.example.app",
  pushkey: "key",
  kind: "http",
  app_display_name: "App",
  device_display_name: "Phone",
  lang: "en",
  data: { url: URL, format: "event_id_only", custom: { a: 1 } },
};

function set(user: UserId, changes: object = {}): Promise<Answer> {
  const body = { ...PUSHER, ...changes };
  return http.request("POST", "/_matrix/client/v3/pushers/set", body, user);
}

async function list(user: UserId): Promise<unknown> {
  return (await http.request("GET", "/_matrix/client/v3/pushers", undefined, user)).body["pushers"];
}

suite("pushers", () => {
  test("are set, replaced and removed", async () => {
    assert.deepEqual((await set(alice)).body, {});
    assert.deepEqual(await list(alice), [PUSHER]);
    await set(alice, { lang: "de", profile_tag: "work" });
    assert.deepEqual(await list(alice), [{ ...PUSHER, lang: "de", profile_tag: "work" }]);
    await set(alice, { pushkey: "other" });
    assert.equal(((await list(alice)) as unknown[]).length, 2);
    const removal = { app_id: PUSHER.app_id, pushkey: "other", kind: null };
    await http.request("POST", "/_matrix/client/r0/pushers/set", removal, alice);
    assert.equal(((await list(alice)) as unknown[]).length, 1);
  });

  test("of the same app and key move to who sets them, unless they are to be added", async () => {
    await set(alice);
    await set(bob, { append: true });
    assert.deepEqual(await list(alice), [PUSHER]);
    await set(bob);
    assert.deepEqual(await list(alice), []);
    assert.deepEqual(await list(bob), [PUSHER]);
  });

  test("go with the device that made them", async () => {
    await set(alice);
    await database.db.transaction().execute(async (tx) => {
      await pushers.removeDevices(tx, alice, ["LAPTOP"]);
    });
    assert.equal(((await list(alice)) as unknown[]).length, 1);
    await database.db.transaction().execute(async (tx) => {
      await pushers.removeDevices(tx, alice, ["PHONE"]);
    });
    assert.deepEqual(await list(alice), []);
  });

  test("are a hundred at most", async () => {
    for (let i = 0; i < 100; i += 1) await set(bob, { pushkey: `${i}`, app_id: "many" });
    assert.equal((await set(bob, { pushkey: "more" })).body["errcode"], "M_FORBIDDEN");
  });

  test("V143: push to the path of push gateways only, over HTTPS", async () => {
    const data = (url: unknown) => ({ data: { url } });
    const cases: [object, string][] = [
      [data("https://push.example/_matrix/push/v1/notify/"), "M_INVALID_PARAM"],
      [data("https://push.example/_matrix/push/v1/../v1/notify/x"), "M_INVALID_PARAM"],
      [data("https://push.example/"), "M_INVALID_PARAM"],
      [data("http://push.example/_matrix/push/v1/notify"), "M_INVALID_PARAM"],
      [data("https://a:b@push.example/_matrix/push/v1/notify"), "M_INVALID_PARAM"],
      [data("/_matrix/push/v1/notify"), "M_INVALID_PARAM"],
      [data(1), "M_BAD_JSON"],
      [data(undefined), "M_MISSING_PARAM"],
      [{ data: 1 }, "M_BAD_JSON"],
      [{ kind: "email" }, "M_INVALID_PARAM"],
      [{ kind: 1 }, "M_BAD_JSON"],
      [{ kind: undefined }, "M_MISSING_PARAM"],
      [{ kind: null, pushkey: undefined }, "M_MISSING_PARAM"],
      [{ lang: undefined }, "M_MISSING_PARAM"],
      [{ pushkey: "x".repeat(513) }, "M_INVALID_PARAM"],
      [{ app_id: "x".repeat(65) }, "M_INVALID_PARAM"],
      [{ pushkey: "\0" }, "M_INVALID_PARAM"],
    ];
    for (const [changes, errcode] of cases) {
      const { status, body } = await set(alice, changes);
      assert.deepEqual([status, body["errcode"]], [400, errcode], JSON.stringify(changes));
    }
    assert.deepEqual(await list(alice), []);
  });
});
