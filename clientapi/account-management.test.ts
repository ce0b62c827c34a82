import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { UserId } from "../spec/identifiers.ts";
import * as accountsTable from "../storage/accounts.ts";
import { type AccountServer, type Alice, openAccountServer, refused } from "./accounts-testing.ts";

const PASSWORD = "/_matrix/client/v3/account/password";
const DEACTIVATE = "/_matrix/client/v3/account/deactivate";
const WHOAMI = "/_matrix/client/v3/account/whoami";

suite("account management", () => {
  let server: AccountServer;
  let fails = false;

  before(async () => {
    server = await openAccountServer({
      async leaveAllRooms() {
        if (fails) throw new Error("the rooms are away");
      },
      onError: () => undefined,
    });
  });
  after(() => server[Symbol.asyncDispose]());

  const authOf = (who: Pick<Alice, "userId" | "password">, session?: unknown) => ({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: who.userId },
    password: who.password,
    ...(session === undefined ? {} : { session }),
  });

  const canLogIn = async (user: UserId, password: string) =>
    (
      await server.request("POST", "/_matrix/client/v3/login", {
        type: "m.login.password",
        identifier: { type: "m.id.user", user },
        password,
      })
    ).status === 200;

  test("V127: a new password ends all other sessions, with their devices and refresh tokens", async () => {
    const alice = await server.register("alice");
    const other = await server.logIn(alice, { refresh_token: true });
    const { login_token } = await server.accounts.logins.createToken(alice.userId);
    const wanted = { new_password: "another good one" };
    const { session } = (await alice.request("POST", PASSWORD, wanted)).body;
    const auth = authOf(alice, session);
    assert.deepEqual((await alice.request("POST", PASSWORD, { ...wanted, auth })).body, {});
    assert.equal((await alice.request("GET", WHOAMI)).status, 200);
    refused(await other.request("GET", WHOAMI), 401, "M_UNKNOWN_TOKEN");
    const refresh = { refresh_token: other.refreshToken };
    const refreshed = await server.request("POST", "/_matrix/client/v3/refresh", refresh);
    refused(refreshed, 401, "M_UNKNOWN_TOKEN");
    const login = { type: "m.login.token", token: login_token };
    refused(await server.request("POST", "/_matrix/client/v3/login", login), 403, "M_FORBIDDEN");
    // Pushers and keys go the same way.
    assert.ok(server.accounts.removedDevices.includes(`${alice.userId} ${other.deviceId}`));
    assert.equal(await canLogIn(alice.userId, alice.password), false);
    assert.equal(await canLogIn(alice.userId, "another good one"), true);
  });

  test("other sessions stay where the user wants it", async () => {
    const bob = await server.register("bob");
    const other = await server.logIn(bob);
    const wanted = { new_password: "another good one", logout_devices: false };
    const answer = await bob.request("POST", PASSWORD, { ...wanted, auth: authOf(bob) });
    assert.equal(answer.status, 200);
    assert.equal((await other.request("GET", WHOAMI)).status, 200);
    assert.equal(await canLogIn(bob.userId, "another good one"), true);
  });

  test("who is not logged in changes the password with the old one, and ends all sessions", async () => {
    const carol = await server.register("carol");
    const wanted = { new_password: "another good one" };
    const asked = await server.request("POST", PASSWORD, wanted);
    assert.equal(asked.status, 401);
    const auth = authOf(carol, asked.body["session"]);
    assert.equal((await server.request("POST", PASSWORD, { ...wanted, auth })).status, 200);
    refused(await carol.request("GET", WHOAMI), 401, "M_UNKNOWN_TOKEN");
    assert.equal(await canLogIn(carol.userId, "another good one"), true);
  });

  test("V112: a password is not changed to another than the session was asked for", async () => {
    const dora = await server.register("dora");
    const { session } = (await dora.request("POST", PASSWORD, { new_password: "first wanted" }))
      .body;
    const changed = { new_password: "then this one", auth: authOf(dora, session) };
    refused(await dora.request("POST", PASSWORD, changed), 403, "M_FORBIDDEN");
    refused(
      await dora.request("POST", PASSWORD, { auth: authOf(dora, session) }),
      400,
      "M_MISSING_PARAM",
    );
    assert.equal(await canLogIn(dora.userId, dora.password), true);
  });

  test("V109: a change of password that stopped half-way leaves no password behind", async () => {
    const erin = await server.register("erin");
    await erin.request("POST", PASSWORD, { new_password: "half way there" });
    const { rows } = await server.accounts.database.pool.query<{ line: string }>(
      "select t::text as line from uia_sessions t",
    );
    assert.ok(rows.length > 0);
    for (const { line } of rows) {
      assert.ok(!line.includes("half way there"));
      assert.ok(!line.includes(Buffer.from("half way there").toString("hex")));
      assert.ok(!line.includes("$argon2"));
    }
  });

  test("a weak or mistyped new password is refused at once", async () => {
    const fay = await server.register("fay");
    const post = (body: object) => fay.request("POST", PASSWORD, body);
    refused(await post({ new_password: "short" }), 400, "M_WEAK_PASSWORD");
    refused(await post({}), 400, "M_MISSING_PARAM");
    refused(await post({ new_password: 12345678 }), 400, "M_BAD_JSON");
    refused(await post({ new_password: "long enough", logout_devices: "no" }), 400, "M_BAD_JSON");
  });

  test("deactivation ends everything, and the rooms are left", async () => {
    const gus = await server.register("gus");
    const asked = await gus.request("POST", DEACTIVATE, {});
    assert.equal(asked.status, 401);
    const auth = authOf(gus, asked.body["session"]);
    const done = await gus.request("POST", DEACTIVATE, { auth });
    assert.deepEqual(done.body, { id_server_unbind_result: "success" });
    refused(await gus.request("GET", WHOAMI), 401, "M_UNKNOWN_TOKEN");
    assert.equal(await canLogIn(gus.userId, gus.password), false);
    assert.deepEqual(server.accounts.left, [gus.userId]);
    const account = await server.accounts.accounts.find(gus.userId);
    assert.equal(account?.is_deactivated, true);
    assert.equal(account?.password_hash, null);
    await assert.rejects(server.rights.assertMayAct(gus.userId), { errcode: "M_USER_DEACTIVATED" });
    await assert.rejects(server.accounts.accounts.setPassword(gus.userId, "long enough", "all"), {
      errcode: "M_NOT_FOUND",
    });
  });

  test("erasing removes profile, account data and filters too", async () => {
    const hana = await server.register("hana");
    const path = `/_matrix/client/v3/user/${hana.userId}`;
    await hana.request("PUT", `/_matrix/client/v3/profile/${hana.userId}/displayname`, {
      displayname: "Hana",
    });
    await hana.request("PUT", `${path}/account_data/org.example`, { a: 1 });
    await hana.request("POST", `${path}/filter`, { room: {} });
    const body = { erase: true };
    const { session } = (await hana.request("POST", DEACTIVATE, body)).body;
    const auth = authOf(hana, session);
    assert.equal((await hana.request("POST", DEACTIVATE, { ...body, auth })).status, 200);
    const { pool } = server.accounts.database;
    for (const table of ["profiles", "account_data", "filters", "devices", "access_tokens"]) {
      const { rowCount } = await pool.query(`select 1 from ${table} where user_id = $1`, [
        hana.userId,
      ]);
      assert.equal(rowCount, 0, table);
    }
    assert.equal((await server.accounts.accounts.find(hana.userId))?.is_erased, true);
  });

  test("rooms that could not be left are left later", async () => {
    const ivan = await server.register("ivan");
    fails = true;
    await server.accounts.accounts.deactivate(ivan.userId, { erase: false });
    const { db } = server.accounts.database;
    assert.deepEqual(await accountsTable.listLeaving(db), [ivan.userId]);
    fails = false;
    await server.accounts.sweep();
    assert.ok(server.accounts.left.includes(ivan.userId));
    assert.deepEqual(await accountsTable.listLeaving(db), []);
  });

  test("nobody has addresses", async () => {
    const judy = await server.register("judy");
    const { body } = await judy.request("GET", "/_matrix/client/v3/account/3pid");
    assert.deepEqual(body, { threepids: [] });
  });

  test("accounts are listed in pages, in the order in which they were made", async () => {
    const namesOf = async (pageSize?: number) => {
      const names: string[] = [];
      for await (const { user_id } of server.accounts.accounts.list(pageSize)) names.push(user_id);
      return names;
    };
    const names = await namesOf(2);
    assert.equal(new Set(names).size, names.length);
    assert.deepEqual(names, await namesOf());
    assert.ok(names.length >= 9);
  });
});

test("without passwords there is no password to change", async () => {
  await using server = await openAccountServer({ settings: { passwordsEnabled: false } });
  refused(
    await server.request("POST", PASSWORD, { new_password: "long enough" }),
    403,
    "M_FORBIDDEN",
  );
  const flows = (await server.request("GET", "/_matrix/client/v3/login")).body["flows"];
  assert.deepEqual(flows, [{ type: "m.login.token", get_login_token: true }]);
  await server.accounts.accounts.create({ username: "alice", password: "long enough" });
  const login = {
    type: "m.login.password",
    identifier: { type: "m.id.user", user: "alice" },
    password: "long enough",
  };
  refused(await server.request("POST", "/_matrix/client/v3/login", login), 403, "M_FORBIDDEN");
});
