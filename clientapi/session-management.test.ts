import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { openTestAccounts, type TestAccounts } from "../server/accounts/testing.ts";
import { registration } from "./registration.ts";
import { sessionManagement } from "./session-management.ts";
import { serveRoutes, type TestHttp } from "./testing.ts";

suite("session management", () => {
  let accounts: TestAccounts;
  let http: TestHttp;

  before(async () => {
    accounts = await openTestAccounts();
    http = await serveRoutes(
      [...registration(accounts), ...sessionManagement({ ...accounts, wellKnown: undefined })],
      (token, use) => accounts.sessions.authenticate(token, use),
    );
    await accounts.accounts.create({ username: "alice", password: "correct horse" });
  });
  after(async () => {
    await http[Symbol.asyncDispose]();
    await accounts[Symbol.asyncDispose]();
  });

  async function logIn(fields: object = {}): Promise<Record<string, unknown>> {
    const { status, body } = await http.request("POST", "/_matrix/client/v3/login", {
      type: "m.login.password",
      identifier: { type: "m.id.user", user: "alice" },
      password: "correct horse",
      ...fields,
    });
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  }

  const whoami = (token: unknown) =>
    http.request("GET", "/_matrix/client/v3/account/whoami", undefined, String(token));

  test("a password logs in on a new device, and logging out ends it", async () => {
    const { access_token, device_id, user_id } = await logIn();
    assert.equal(user_id, "@alice:example.org");
    const me = await whoami(access_token);
    assert.deepEqual(me.body, { user_id, device_id, is_guest: false });
    const out = await http.request("POST", "/_matrix/client/v3/logout", {}, String(access_token));
    assert.deepEqual(out.body, {});
    const gone = await whoami(access_token);
    assert.equal(gone.status, 401);
    assert.equal(gone.body["errcode"], "M_UNKNOWN_TOKEN");
    assert.equal(gone.body["soft_logout"], undefined);
    assert.ok(accounts.removedDevices.includes(`@alice:example.org ${String(device_id)}`));
  });

  test("an account is registered by way of the dummy stage", async () => {
    const wanted = { username: "bob", password: "wrong battery" };
    const first = await http.request("POST", "/_matrix/client/v3/register", wanted);
    assert.equal(first.status, 401);
    assert.equal(first.body["errcode"], undefined);
    assert.deepEqual(first.body["flows"], [{ stages: ["m.login.dummy"] }]);
    const second = await http.request("POST", "/_matrix/client/v3/register", {
      ...wanted,
      auth: { type: "m.login.dummy", session: first.body["session"] },
    });
    assert.equal(second.status, 200, second.text);
    assert.equal(second.body["user_id"], "@bob:example.org");
    assert.equal((await whoami(second.body["access_token"])).status, 200);
  });
});
