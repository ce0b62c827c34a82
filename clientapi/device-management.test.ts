import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type AccountServer, type Alice, openAccountServer, refused } from "./accounts-testing.ts";

const DEVICES = "/_matrix/client/v3/devices";
const DELETE = "/_matrix/client/v3/delete_devices";

suite("devices", () => {
  let server: AccountServer;
  let alice: Alice;
  let bob: Alice;

  before(async () => {
    server = await openAccountServer();
    alice = await server.register("alice");
    bob = await server.register("bob");
  });
  after(() => server[Symbol.asyncDispose]());

  const passwordOf = (who: Alice, session: unknown) => ({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: who.userId },
    password: who.password,
    session,
  });

  test("devices are listed with what is known of them, and only one's own", async () => {
    const second = await server.logIn(alice, {
      device_id: "TABLET",
      initial_device_display_name: "Tablet",
    });
    const { body } = await alice.request("GET", DEVICES);
    assert.deepEqual(
      body["devices"],
      [{ device_id: alice.deviceId }, { device_id: second.deviceId, display_name: "Tablet" }]
        .map((device) => ({
          ...device,
          last_seen_ip: "127.0.0.1",
          last_seen_ts: server.accounts.now,
        }))
        .toSorted((a, b) => (a.device_id < b.device_id ? -1 : 1)),
    );
    const one = await alice.request("GET", `${DEVICES}/TABLET`);
    assert.equal(one.body["display_name"], "Tablet");
    refused(await bob.request("GET", `${DEVICES}/TABLET`), 404, "M_NOT_FOUND");
  });

  test("a device is renamed, and others hear that its keys look different", async () => {
    await server.logIn(alice, { device_id: "NAMED" });
    const before = server.accounts.stream.position;
    const put = (body: object) => alice.request("PUT", `${DEVICES}/NAMED`, body);
    assert.equal((await put({ display_name: "My phone" })).status, 200);
    const entries = server.accounts.stream.after(before) ?? [];
    assert.deepEqual(
      entries.map(({ kind, userId }) => ({ kind, userId })),
      [{ kind: "device_list", userId: alice.userId }],
    );
    assert.equal((await put({ display_name: "My phone" })).status, 200);
    assert.equal((await put({})).status, 200);
    assert.equal(server.accounts.stream.position, before + 1);
    const named = await alice.request("GET", `${DEVICES}/NAMED`);
    assert.equal(named.body["display_name"], "My phone");
    refused(await put({ display_name: 7 }), 400, "M_BAD_JSON");
    refused(await put({ display_name: "x".repeat(256) }), 400, "M_INVALID_PARAM");
    refused(await put({ display_name: "\0" }), 400, "M_INVALID_PARAM");
    for (const body of [{ display_name: "x" }, {}]) {
      refused(await alice.request("PUT", `${DEVICES}/OTHER`, body), 404, "M_NOT_FOUND");
    }
    refused(await alice.request("GET", `${DEVICES}/%00`), 400, "M_INVALID_PARAM");
  });

  test("deleting a device takes the password, and ends its session", async () => {
    const lost = await server.logIn(alice, { device_id: "LOST" });
    const path = `${DEVICES}/LOST`;
    const asked = await alice.request("DELETE", path);
    assert.equal(asked.status, 401);
    assert.deepEqual(asked.body["flows"], [{ stages: ["m.login.password"] }]);
    const { session } = asked.body;
    const wrong = { ...passwordOf(alice, session), password: "wrong password" };
    refused(await alice.request("DELETE", path, { auth: wrong }), 401, "M_FORBIDDEN");
    const done = await alice.request("DELETE", path, { auth: passwordOf(alice, session) });
    assert.deepEqual({ status: done.status, body: done.body }, { status: 200, body: {} });
    refused(await lost.request("GET", DEVICES), 401, "M_UNKNOWN_TOKEN");
    assert.ok(server.accounts.removedDevices.includes(`${alice.userId} LOST`));
    // Gone before is as good as gone now.
    const again = await alice.request("DELETE", path);
    const auth = passwordOf(alice, again.body["session"]);
    assert.equal((await alice.request("DELETE", path, { auth })).status, 200);
  });

  test("the old form of a password stage is known too", async () => {
    await server.logIn(alice, { device_id: "OLD" });
    const auth = { type: "m.login.password", user: "alice", password: alice.password };
    assert.equal((await alice.request("DELETE", `${DEVICES}/OLD`, { auth })).status, 200);
  });

  test("a stage that makes no sense is told as such", async () => {
    const cases: [object, number, string][] = [
      [{ type: "m.login.password" }, 400, "M_MISSING_PARAM"],
      [{ type: "m.login.password", password: 1, user: "alice" }, 400, "M_BAD_JSON"],
      [{ type: "m.login.password", password: "x" }, 400, "M_MISSING_PARAM"],
      [{ type: "m.login.dummy" }, 401, "M_FORBIDDEN"],
      [{ type: "m.login.registration_token", token: "x" }, 401, "M_FORBIDDEN"],
    ];
    for (const [auth, status, errcode] of cases) {
      refused(await alice.request("DELETE", `${DEVICES}/X`, { auth }), status, errcode);
    }
  });

  test("V112: another user can neither finish a session nor prove somebody else", async () => {
    await server.logIn(alice, { device_id: "TARGET" });
    const path = `${DEVICES}/TARGET`;
    const { session } = (await alice.request("DELETE", path)).body;
    // b's password in a's session, a's session by b, a's password in b's session.
    const foreign = await alice.request("DELETE", path, { auth: passwordOf(bob, session) });
    refused(foreign, 401, "M_FORBIDDEN");
    for (const who of [alice, bob]) {
      const auth = passwordOf(who, session);
      refused(await bob.request("DELETE", path, { auth }), 403, "M_FORBIDDEN");
    }
    const own = (await bob.request("DELETE", path)).body["session"];
    const posing = await bob.request("DELETE", path, { auth: passwordOf(alice, own) });
    refused(posing, 401, "M_FORBIDDEN");
    assert.equal((await alice.request("GET", path)).status, 200);
  });

  test("V112: a session is for one method, path and body, and good once", async () => {
    for (const id of ["ONE", "TWO", "THREE"]) await server.logIn(alice, { device_id: id });
    const { session } = (await alice.request("DELETE", `${DEVICES}/ONE`)).body;
    const auth = passwordOf(alice, session);
    refused(await alice.request("DELETE", `${DEVICES}/TWO`, { auth }), 403, "M_FORBIDDEN");
    refused(await alice.request("POST", DELETE, { devices: ["TWO"], auth }), 403, "M_FORBIDDEN");
    const other = await alice.request("POST", "/_matrix/client/v1/login/get_token", { auth });
    refused(other, 403, "M_FORBIDDEN");
    const many = (await alice.request("POST", DELETE, { devices: ["ONE"] })).body["session"];
    const swapped = { devices: ["TWO"], auth: passwordOf(alice, many) };
    refused(await alice.request("POST", DELETE, swapped), 403, "M_FORBIDDEN");
    const both = { devices: ["ONE", "TWO"] };
    const { session: fresh } = (await alice.request("POST", DELETE, both)).body;
    const answers = await Promise.all(
      Array.from({ length: 4 }, () =>
        alice.request("POST", DELETE, { ...both, auth: passwordOf(alice, fresh) }),
      ),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    assert.ok(answers.every(({ status }) => [200, 401, 403].includes(status)));
    assert.equal((await alice.request("GET", `${DEVICES}/THREE`)).status, 200);
    refused(await alice.request("GET", `${DEVICES}/TWO`), 404, "M_NOT_FOUND");
  });

  test("of the sessions that a user leaves unfinished only the newest are kept", async () => {
    for (let i = 0; i < 55; i += 1) {
      server.accounts.now += 1;
      await bob.request("DELETE", `${DEVICES}/SOME${i}`);
    }
    const { rowCount } = await server.accounts.database.pool.query(
      "select 1 from uia_sessions where user_id = $1",
      [bob.userId],
    );
    assert.equal(rowCount, 50);
  });

  test("deleting many devices wants a list of them", async () => {
    refused(await alice.request("POST", DELETE, {}), 400, "M_MISSING_PARAM");
    refused(await alice.request("POST", DELETE, { devices: "X" }), 400, "M_BAD_JSON");
    refused(await alice.request("POST", DELETE, { devices: [1] }), 400, "M_BAD_JSON");
    refused(await alice.request("POST", DELETE, { devices: ["\0"] }), 400, "M_INVALID_PARAM");
  });

  test("V121: an address is not taken from a header that anybody can write", async () => {
    const login = {
      type: "m.login.password",
      identifier: { type: "m.id.user", user: "bob" },
      password: bob.password,
      device_id: "FORWARDED",
    };
    const response = await server.request("POST", "/_matrix/client/v3/login", login, undefined, {
      "x-forwarded-for": "203.0.113.7",
      forwarded: "for=203.0.113.7",
      "x-real-ip": "203.0.113.7",
    });
    assert.equal(response.status, 200);
    const device = await bob.request("GET", `${DEVICES}/FORWARDED`);
    assert.equal(device.body["last_seen_ip"], "127.0.0.1");
  });
});
