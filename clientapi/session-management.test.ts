import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { openTestAccounts } from "../server/accounts/testing.ts";
import * as accountsTable from "../storage/accounts.ts";
import { type AccountServer, type Alice, openAccountServer, refused } from "./accounts-testing.ts";

const LOGIN = "/_matrix/client/v3/login";
const WHOAMI = "/_matrix/client/v3/account/whoami";
const REFRESH = "/_matrix/client/v3/refresh";
const LOGOUT = "/_matrix/client/v3/logout";

suite("login and logout", () => {
  let server: AccountServer;
  let alice: Alice;

  before(async () => {
    server = await openAccountServer();
    alice = await server.register("alice");
  });
  after(() => server[Symbol.asyncDispose]());

  test("the flows are password and token", async () => {
    const { status, body } = await server.request("GET", LOGIN);
    assert.equal(status, 200);
    assert.deepEqual(body, {
      flows: [{ type: "m.login.password" }, { type: "m.login.token", get_login_token: true }],
    });
  });

  test("a user is named by the full ID, the localpart, in capitals, or the old way", async () => {
    const { password } = alice;
    const type = "m.login.password";
    for (const who of [
      { identifier: { type: "m.id.user", user: "@alice:example.org" } },
      { identifier: { type: "m.id.user", user: "alice" } },
      { identifier: { type: "m.id.user", user: "Alice" } },
      { user: "alice" },
      { user: "@alice:example.org" },
    ]) {
      const answer = await server.request("POST", LOGIN, { type, password, ...who });
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.body["user_id"], "@alice:example.org");
      assert.equal(answer.body["expires_in_ms"], undefined);
      assert.equal(answer.body["refresh_token"], undefined);
      assert.match(String(answer.body["device_id"]), /^[A-Z]{10}$/);
    }
  });

  test("S32: whatever is wrong with name or password, the answer is the same", async () => {
    const type = "m.login.password";
    const answers = [];
    for (const [user, password] of [
      ["alice", "wrong password"],
      ["nobody", "wrong password"],
      ["@alice:elsewhere.org", alice.password],
      ["", alice.password],
      ["alice", ""],
      ["alice", "x".repeat(600)],
      ["al\0ice", alice.password],
      ["@:example.org", alice.password],
    ]) {
      const identifier = { type: "m.id.user", user };
      answers.push(await server.request("POST", LOGIN, { type, identifier, password }));
    }
    for (const answer of answers) {
      refused(answer, 403, "M_FORBIDDEN");
      assert.equal(answer.text, answers[0]?.text);
    }
  });

  test("V118: an empty password is refused", async () => {
    const identifier = { type: "m.id.user", user: "alice" };
    const body = { type: "m.login.password", identifier, password: "" };
    refused(await server.request("POST", LOGIN, body), 403, "M_FORBIDDEN");
  });

  test("an address or phone number is nobody's", async () => {
    for (const who of [
      { identifier: { type: "m.id.thirdparty", medium: "email", address: "a@example.org" } },
      { identifier: { medium: "email", address: "a@example.org" } },
      { identifier: { type: "m.id.phone", country: "GB", phone: "123" } },
      { medium: "email", address: "a@example.org" },
    ]) {
      const body = { type: "m.login.password", password: alice.password, ...who };
      refused(await server.request("POST", LOGIN, body), 403, "M_FORBIDDEN");
    }
  });

  test("odd requests to log in are refused as such", async () => {
    const identifier = { type: "m.id.user", user: "alice" };
    const good = { type: "m.login.password", identifier, password: alice.password };
    const cases: [object, number, string][] = [
      [{}, 400, "M_MISSING_PARAM"],
      [{ ...good, type: 7 }, 400, "M_BAD_JSON"],
      [{ ...good, type: "m.login.other" }, 400, "M_UNKNOWN"],
      [{ ...good, type: "m.login.application_service" }, 403, "M_FORBIDDEN"],
      [{ ...good, password: undefined }, 400, "M_MISSING_PARAM"],
      [{ ...good, password: [] }, 400, "M_BAD_JSON"],
      [{ ...good, identifier: undefined }, 400, "M_MISSING_PARAM"],
      [{ ...good, identifier: "alice" }, 400, "M_BAD_JSON"],
      [{ ...good, identifier: { type: "m.id.other" } }, 400, "M_UNKNOWN"],
      [{ ...good, identifier: { type: "m.id.user" } }, 400, "M_MISSING_PARAM"],
      [{ ...good, device_id: "" }, 400, "M_INVALID_PARAM"],
      [{ ...good, device_id: "A\0B" }, 400, "M_INVALID_PARAM"],
      [{ ...good, device_id: "x".repeat(256) }, 400, "M_INVALID_PARAM"],
      [{ ...good, initial_device_display_name: "x".repeat(256) }, 400, "M_INVALID_PARAM"],
      [{ ...good, refresh_token: "yes" }, 400, "M_BAD_JSON"],
      [{ type: "m.login.token" }, 400, "M_MISSING_PARAM"],
      [{ type: "m.login.token", token: "x" }, 403, "M_FORBIDDEN"],
    ];
    for (const [body, status, errcode] of cases) {
      refused(await server.request("POST", LOGIN, body), status, errcode);
    }
  });

  test("V107: what is no token of ours logs nobody in", async () => {
    refused(await server.request("GET", WHOAMI), 401, "M_MISSING_TOKEN");
    refused(await server.request("GET", `${WHOAMI}?access_token=`), 401, "M_MISSING_TOKEN");
    refused(await server.request("GET", `${WHOAMI}?access_token=%00`), 401, "M_UNKNOWN_TOKEN");
    for (const token of [
      "x",
      "gma_",
      alice.token.slice(0, -1),
      `${alice.token}x`,
      "x".repeat(8000),
    ]) {
      refused(await server.request("GET", WHOAMI, undefined, token), 401, "M_UNKNOWN_TOKEN");
    }
  });

  test("a device that logs in again keeps its name and loses its old token", async () => {
    const fields = { device_id: "PHONE", initial_device_display_name: "Phone" };
    const first = await server.logIn(alice, fields);
    assert.equal((await first.request("GET", WHOAMI)).body["device_id"], "PHONE");
    const second = await server.logIn(alice, { ...fields, initial_device_display_name: "Other" });
    refused(await first.request("GET", WHOAMI), 401, "M_UNKNOWN_TOKEN");
    const device = await second.request("GET", "/_matrix/client/v3/devices/PHONE");
    assert.equal(device.body["display_name"], "Phone");
  });

  test("a device ID that is a cross-signing key is refused", async () => {
    server.accounts.crossSigningKeys.add("MASTERKEY");
    const identifier = { type: "m.id.user", user: "alice" };
    const body = { type: "m.login.password", identifier, password: alice.password };
    const answer = await server.request("POST", LOGIN, { ...body, device_id: "MASTERKEY" });
    refused(answer, 403, "M_FORBIDDEN");
  });

  test("logging out ends the session and removes the device", async () => {
    const session = await server.logIn(alice);
    assert.deepEqual((await session.request("POST", LOGOUT)).body, {});
    const answer = await session.request("GET", WHOAMI);
    refused(answer, 401, "M_UNKNOWN_TOKEN");
    assert.equal(answer.body["soft_logout"], undefined);
    assert.ok(server.accounts.removedDevices.includes(`@alice:example.org ${session.deviceId}`));
    const { body } = await alice.request("GET", "/_matrix/client/v3/devices");
    const ids = (body["devices"] as { device_id: string }[]).map((device) => device.device_id);
    assert.ok(ids.includes(alice.deviceId) && !ids.includes(session.deviceId));
  });

  test("logging out everywhere ends all sessions of the user, and nobody else's", async () => {
    const carol = await server.register("carol");
    const other = await server.logIn(carol);
    assert.equal((await carol.request("POST", `${LOGOUT}/all`)).status, 200);
    refused(await carol.request("GET", WHOAMI), 401, "M_UNKNOWN_TOKEN");
    refused(await other.request("GET", WHOAMI), 401, "M_UNKNOWN_TOKEN");
    assert.equal((await alice.request("GET", WHOAMI)).status, 200);
  });

  test("a login token is good once, for two minutes, and takes the password to get", async () => {
    const path = "/_matrix/client/v1/login/get_token";
    const asked = await alice.request("POST", path, {});
    assert.equal(asked.status, 401);
    const auth = {
      type: "m.login.password",
      identifier: { type: "m.id.user", user: "alice" },
      password: alice.password,
      session: asked.body["session"],
    };
    const given = await alice.request("POST", path, { auth });
    assert.equal(given.status, 200, given.text);
    assert.equal(given.body["expires_in_ms"], 120_000);
    const login = { type: "m.login.token", token: given.body["login_token"] };
    const attempts = await Promise.all(
      Array.from({ length: 8 }, () => server.request("POST", LOGIN, login)),
    );
    const good = attempts.filter(({ status }) => status === 200);
    assert.equal(good.length, 1);
    assert.equal(good[0]?.body["user_id"], "@alice:example.org");
    // Each token takes the password anew.
    refused(await alice.request("POST", path, { auth }), 401, "M_FORBIDDEN");
    const { login_token } = await server.accounts.logins.createToken(alice.userId);
    server.accounts.now += 120_001;
    const late = await server.request("POST", LOGIN, { type: "m.login.token", token: login_token });
    refused(late, 403, "M_FORBIDDEN");
  });

  test("a locked user can only log out", async () => {
    const dave = await server.register("dave");
    const login = {
      type: "m.login.password",
      identifier: { type: "m.id.user", user: "dave" },
      password: dave.password,
    };
    assert.equal((await dave.request("GET", WHOAMI)).status, 200);
    await server.accounts.accounts.setRights(dave.userId, { is_locked: true });
    const answer = await dave.request("GET", WHOAMI);
    refused(answer, 401, "M_USER_LOCKED");
    assert.equal(answer.body["soft_logout"], true);
    refused(await server.request("POST", LOGIN, login), 401, "M_USER_LOCKED");
    await server.accounts.accounts.setRights(dave.userId, { is_locked: false });
    assert.equal((await dave.request("GET", WHOAMI)).status, 200);
    await server.accounts.accounts.setRights(dave.userId, { is_locked: true });
    assert.equal((await dave.request("POST", LOGOUT)).status, 200);
  });

  test("a session ends in every process that knew it", async () => {
    const session = await server.logIn(alice);
    // Cached by the first request.
    await session.request("GET", WHOAMI);
    await session.request("GET", WHOAMI);
    const { user_id } = (await session.request("GET", WHOAMI)).body;
    assert.equal(user_id, alice.userId);
    await server.accounts.devices.remove(alice.userId, [session.deviceId]);
    refused(await session.request("GET", WHOAMI), 401, "M_UNKNOWN_TOKEN");
  });

  test("a password that changed while it was checked logs nobody in", async () => {
    const eve = await server.register("eve");
    const before = await accountsTable.find(server.accounts.database.db, eve.userId);
    await server.accounts.accounts.setPassword(eve.userId, "another password", "all");
    await assert.rejects(
      server.accounts.sessions.logIn(eve.userId, {
        passwordHash: before?.password_hash,
        clientAddress: "127.0.0.1",
        userAgent: "",
      }),
      { errcode: "M_FORBIDDEN" },
    );
  });
});

suite("refresh tokens", () => {
  let server: AccountServer;
  let alice: Alice;

  before(async () => {
    server = await openAccountServer();
    alice = await server.register("alice");
  });
  after(() => server[Symbol.asyncDispose]());

  const logIn = (fields = {}) => server.logIn(alice, { refresh_token: true, ...fields });
  const whoami = (token: unknown) => server.request("GET", WHOAMI, undefined, String(token));
  const refresh = (token: unknown) => server.request("POST", REFRESH, { refresh_token: token });

  test("an access token expires softly and is refreshed on the same device", async () => {
    const session = await logIn();
    assert.equal((await whoami(session.token)).status, 200);
    server.accounts.now += 300_001;
    const expired = await whoami(session.token);
    refused(expired, 401, "M_UNKNOWN_TOKEN");
    assert.equal(expired.body["soft_logout"], true);
    const { status, body } = await refresh(session.refreshToken);
    assert.equal(status, 200);
    assert.equal(body["expires_in_ms"], 300_000);
    assert.notEqual(body["refresh_token"], session.refreshToken);
    const me = await whoami(body["access_token"]);
    assert.equal(me.body["device_id"], session.deviceId);
  });

  test("V124: the old pair stays good until the new one is used", async () => {
    const session = await logIn();
    const lost = await refresh(session.refreshToken);
    assert.equal((await whoami(session.token)).status, 200);
    const got = await refresh(session.refreshToken);
    assert.equal(got.status, 200);
    refused(await whoami(lost.body["access_token"]), 401, "M_UNKNOWN_TOKEN");
    assert.equal((await whoami(got.body["access_token"])).status, 200);
    refused(await whoami(session.token), 401, "M_UNKNOWN_TOKEN");
  });

  test("V124: a refresh token that was replaced and used again ends the whole login", async () => {
    const session = await logIn();
    const second = await refresh(session.refreshToken);
    assert.equal((await whoami(second.body["access_token"])).status, 200);
    const stolen = await refresh(session.refreshToken);
    refused(stolen, 401, "M_UNKNOWN_TOKEN");
    assert.equal(stolen.body["soft_logout"], true);
    refused(await whoami(second.body["access_token"]), 401, "M_UNKNOWN_TOKEN");
    refused(await refresh(second.body["refresh_token"]), 401, "M_UNKNOWN_TOKEN");
    // The device is still there: its keys are not lost to the thief's doing.
    const device = await alice.request("GET", `/_matrix/client/v3/devices/${session.deviceId}`);
    assert.equal(device.status, 200);
    const again = await logIn({ device_id: session.deviceId });
    assert.equal((await whoami(again.token)).status, 200);
  });

  test("V124: using the new refresh token also confirms it", async () => {
    const session = await logIn();
    const second = await refresh(session.refreshToken);
    const third = await refresh(second.body["refresh_token"]);
    assert.equal(third.status, 200);
    refused(await refresh(session.refreshToken), 401, "M_UNKNOWN_TOKEN");
    refused(await whoami(third.body["access_token"]), 401, "M_UNKNOWN_TOKEN");
  });

  test("V124: refreshing at once from many places leaves one pair that works", async () => {
    const session = await logIn();
    const answers = await Promise.all(
      Array.from({ length: 16 }, () => refresh(session.refreshToken)),
    );
    assert.ok(answers.every(({ status }) => status === 200));
    const alive = [];
    for (const { body } of answers) {
      if ((await whoami(body["access_token"])).status === 200) alive.push(body);
    }
    assert.equal(alive.length, 1);
    assert.equal((await refresh(alive[0]?.["refresh_token"])).status, 200);
  });

  test("a login anew on the device makes its old refresh token unknown", async () => {
    const session = await logIn();
    const again = await logIn({ device_id: session.deviceId });
    const answer = await refresh(session.refreshToken);
    refused(answer, 401, "M_UNKNOWN_TOKEN");
    assert.equal(answer.body["soft_logout"], undefined);
    assert.equal((await whoami(again.token)).status, 200);
  });

  test("an access token is no refresh token, nor the other way round", async () => {
    const session = await logIn();
    refused(await refresh(session.token), 401, "M_UNKNOWN_TOKEN");
    refused(await whoami(session.refreshToken), 401, "M_UNKNOWN_TOKEN");
    refused(await server.request("POST", REFRESH, {}), 400, "M_MISSING_PARAM");
    refused(await refresh("\0"), 401, "M_UNKNOWN_TOKEN");
  });

  test("a locked user cannot refresh", async () => {
    const session = await logIn();
    await server.accounts.accounts.setRights(alice.userId, { is_locked: true });
    refused(await refresh(session.refreshToken), 401, "M_USER_LOCKED");
    await server.accounts.accounts.setRights(alice.userId, { is_locked: false });
    assert.equal((await refresh(session.refreshToken)).status, 200);
  });

  test("S15: a dump of the database holds no token that is good for anything", async () => {
    const session = await logIn();
    const { login_token } = await server.accounts.logins.createToken(alice.userId);
    const { access_token: openId } = await server.accounts.openId.createToken(alice.userId);
    const dump = await dumpOf(server);
    for (const secret of [
      session.token,
      session.refreshToken,
      login_token,
      openId,
      alice.password,
    ]) {
      assert.ok(secret !== undefined && !dump.includes(secret));
      assert.ok(!dump.includes(Buffer.from(secret).toString("hex")));
      const [, ...parts] = secret.split("_");
      for (const part of parts) if (part.length > 6) assert.ok(!dump.includes(part));
    }
  });
});

test("logins are limited by account, and more so those that fail", async () => {
  await using accounts = await openTestAccounts({ limited: true });
  await accounts.accounts.create({ username: "alice", password: "good password" });
  const logIn = (user: string, password: string) =>
    accounts.logins.withPassword({ type: "m.id.user", user }, password, {
      clientAddress: "127.0.0.1",
      userAgent: "",
    });
  // Good ones do not count as failures.
  for (let i = 0; i < 6; i += 1) await logIn("alice", "good password");
  accounts.now += 3_600_000;
  const outcomes = await Promise.allSettled(
    Array.from({ length: 8 }, () => logIn("alice", "wrong password")),
  );
  const codes = outcomes.map((o) => (o.status === "rejected" ? String(o.reason.errcode) : "ok"));
  assert.deepEqual(codes.toSorted(), [
    ...Array<string>(5).fill("M_FORBIDDEN"),
    ...Array<string>(3).fill("M_LIMIT_EXCEEDED"),
  ]);
  await assert.rejects(logIn("@ALICE:example.org", "good password"), {
    errcode: "M_LIMIT_EXCEEDED",
  });
  // An account that does not exist is limited the same way.
  for (let i = 0; i < 5; i += 1) {
    await assert.rejects(logIn("nobody", "wrong password"), { errcode: "M_FORBIDDEN" });
  }
  await assert.rejects(logIn("nobody", "wrong password"), { errcode: "M_LIMIT_EXCEEDED" });
  accounts.now += 3_600_000;
  await logIn("alice", "good password");
});

/** All that stands in the database, as text; bytes in hexadecimal. */
async function dumpOf({ accounts: { database } }: AccountServer): Promise<string> {
  const { rows: tables } = await database.pool.query<{ name: string }>(
    "select table_name as name from information_schema.tables where table_schema = 'public'",
  );
  let dump = "";
  for (const { name } of tables) {
    const { rows } = await database.pool.query(`select t::text as line from "${name}" t`);
    dump += rows.map((row: { line: string }) => row.line).join("\n");
  }
  return dump;
}
