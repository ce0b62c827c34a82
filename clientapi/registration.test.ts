import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, suite, test } from "node:test";
import * as accountsTable from "../storage/accounts.ts";
import { type AccountServer, openAccountServer, refused } from "./accounts-testing.ts";
import type { Answer } from "./testing.ts";

const REGISTER = "/_matrix/client/v3/register";
const AVAILABLE = `${REGISTER}/available`;
const VALIDITY = "/_matrix/client/v1/register/m.login.registration_token/validity";
const ADMIN = "/_synapse/admin/v1/register";

suite("registration that is open", () => {
  let server: AccountServer;

  before(async () => {
    server = await openAccountServer();
  });
  after(() => server[Symbol.asyncDispose]());

  const register = (body: object) => server.request("POST", REGISTER, body);
  const dummy = { auth: { type: "m.login.dummy" } };

  test("never succeeds without authentication, and then makes an account", async () => {
    const wanted = { username: "alice", password: "a good password", device_id: "PHONE" };
    const first = await register(wanted);
    assert.equal(first.status, 401);
    assert.equal(first.body["errcode"], undefined);
    assert.deepEqual(first.body["flows"], [{ stages: ["m.login.dummy"] }]);
    assert.deepEqual(first.body["completed"], []);
    assert.deepEqual(first.body["params"], {});
    const { session } = first.body;
    const second = await register({ ...wanted, auth: { type: "m.login.dummy", session } });
    assert.equal(second.status, 200, second.text);
    const { access_token, ...rest } = second.body;
    assert.deepEqual(rest, { user_id: "@alice:example.org", device_id: "PHONE" });
    const me = await server.request(
      "GET",
      "/_matrix/client/v3/account/whoami",
      undefined,
      String(access_token),
    );
    assert.deepEqual(me.body, { ...rest, is_guest: false });
    // The session was good once.
    refused(await register({ ...wanted, auth: { session } }), 400, "M_USER_IN_USE");
  });

  test("a name is made up where none is wanted, and no login where it is inhibited", async () => {
    const { status, body } = await register({
      password: "a good password",
      inhibit_login: true,
      ...dummy,
    });
    assert.equal(status, 200);
    assert.deepEqual(Object.keys(body), ["user_id"]);
    assert.match(String(body["user_id"]), /^@[a-z]{12}:example\.org$/);
  });

  test("refresh tokens are given to clients that know them", async () => {
    const { body } = await register({
      username: "refresher",
      password: "a good password",
      refresh_token: true,
      ...dummy,
    });
    assert.equal(body["expires_in_ms"], 300_000);
    assert.match(String(body["refresh_token"]), /^gmr_/);
  });

  test("V113: a taken, foreign or malformed name is refused before and after authentication", async () => {
    await server.register("taken");
    const password = "a good password";
    const cases: [string, string][] = [
      ["taken", "M_USER_IN_USE"],
      ["x:other.org", "M_INVALID_USERNAME"],
      ["@x:example.org", "M_INVALID_USERNAME"],
      ["Upper", "M_INVALID_USERNAME"],
      ["", "M_INVALID_USERNAME"],
      ["a b", "M_INVALID_USERNAME"],
      ["a\0b", "M_INVALID_USERNAME"],
      ["ünï", "M_INVALID_USERNAME"],
      ["x".repeat(243), "M_INVALID_USERNAME"],
      ["x".repeat(60_000), "M_INVALID_USERNAME"],
    ];
    for (const [username, errcode] of cases) {
      refused(await register({ username, password }), 400, errcode);
      refused(await register({ username, password, ...dummy }), 400, errcode);
      if (username.length < 1000) {
        const query = encodeURIComponent(username);
        refused(await server.request("GET", `${AVAILABLE}?username=${query}`), 400, errcode);
      }
    }
    // The old account is as it was.
    const still = { userId: "@taken:example.org", password: "password of taken" } as const;
    assert.equal((await server.logIn(still)).userId, "@taken:example.org");
    assert.equal((await register({ username: "x".repeat(242), password, ...dummy })).status, 200);
  });

  test("two who want one name at once: one gets it", async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        register({ username: "contested", password: "a good password", ...dummy }),
      ),
    );
    const outcomes = answers.map(({ status, body }) => (status === 200 ? "ok" : body["errcode"]));
    assert.deepEqual(outcomes.toSorted(), [...Array<string>(7).fill("M_USER_IN_USE"), "ok"]);
  });

  test("a name stays taken when its account is deactivated", async () => {
    const gone = await server.register("gone");
    await server.accounts.accounts.deactivate(gone.userId, { erase: true });
    refused(await register({ username: "gone", ...dummy }), 400, "M_USER_IN_USE");
    refused(await server.request("GET", `${AVAILABLE}?username=gone`), 400, "M_USER_IN_USE");
  });

  test("a free name is available", async () => {
    const answer = await server.request("GET", `${AVAILABLE}?username=a.b_c=d-e/f+0`);
    assert.equal(answer.status, 400); // a plus in a query is a space
    const free = await server.request("GET", `${AVAILABLE}?username=a.b_c=d-e/f%2B0`);
    assert.deepEqual(free.body, { available: true });
    refused(await server.request("GET", AVAILABLE), 400, "M_MISSING_PARAM");
  });

  test("a weak password is refused, and one is needed", async () => {
    refused(await register({ username: "weak", password: "short" }), 400, "M_WEAK_PASSWORD");
    refused(await register({ username: "weak", ...dummy }), 400, "M_MISSING_PARAM");
  });

  test("a client may ask for the flows first, and then say what it wants", async () => {
    const { body } = await register({});
    const auth = { type: "m.login.dummy", session: body["session"] };
    const made = await register({ username: "later", password: "a good password", auth });
    assert.equal(made.body["user_id"], "@later:example.org");
  });

  test("a client may repeat the session alone", async () => {
    const wanted = { username: "kept", password: "a good password", device_id: "KEPT" };
    const { body } = await register(wanted);
    const made = await register({ auth: { type: "m.login.dummy", session: body["session"] } });
    assert.equal(made.status, 200, made.text);
    assert.equal(made.body["device_id"], "KEPT");
    const alice = { userId: "@kept:example.org", password: "a good password" } as const;
    assert.equal((await server.logIn(alice)).userId, alice.userId);
  });

  test("V112: a session is bound to the request that it began with", async () => {
    const { body } = await register({ username: "bound", password: "a good password" });
    const auth = { type: "m.login.dummy", session: body["session"] };
    for (const changed of [
      { username: "other", password: "a good password" },
      { username: "bound", password: "another password" },
      { username: "bound", password: "a good password", device_id: "X" },
    ]) {
      refused(await register({ ...changed, auth }), 403, "M_FORBIDDEN");
    }
    const made = await register({ password: "a good password", username: "bound", auth });
    assert.equal(made.status, 200);
  });

  test("a session that is unknown or has expired begins anew", async () => {
    const wanted = { username: "patient", password: "a good password" };
    const { body } = await register(wanted);
    server.accounts.now += 3_600_001;
    for (const session of [body["session"], "unknown", "\0", ""]) {
      const answer = await register({ ...wanted, auth: { type: "m.login.dummy", session } });
      refused(answer, 401, "M_FORBIDDEN");
      assert.notEqual(answer.body["session"], session);
      assert.deepEqual(answer.body["flows"], [{ stages: ["m.login.dummy"] }]);
    }
    await server.accounts.sweep();
    const { rows } = await server.accounts.database.pool.query<{ n: number }>(
      "select count(*)::int as n from uia_sessions where expires_ts <= $1",
      [server.accounts.now],
    );
    assert.equal(rows[0]?.n, 0);
  });

  test("a stage that is not asked for is refused", async () => {
    const answer = await register({
      username: "stage",
      password: "a good password",
      auth: { type: "m.login.recaptcha" },
    });
    refused(answer, 401, "M_FORBIDDEN");
  });

  test("V109: no password stands in the database while a registration is under way", async () => {
    await register({ username: "halfway", password: "my plain password" });
    const { rows } = await server.accounts.database.pool.query<{ line: string }>(
      "select t::text as line from uia_sessions t",
    );
    const dump = rows.map(({ line }) => line).join("\n");
    assert.ok(dump.includes("halfway"));
    assert.ok(!dump.includes("my plain password"));
    assert.ok(!dump.includes(Buffer.from("my plain password").toString("hex")));
  });

  test("mistyped fields are refused", async () => {
    const good = { username: "typed", password: "a good password" };
    const cases: [object, string][] = [
      [{ ...good, auth: "x" }, "M_BAD_JSON"],
      [{ ...good, auth: { type: 1 } }, "M_BAD_JSON"],
      [{ ...good, auth: { session: [] } }, "M_BAD_JSON"],
      [{ ...good, username: 1 }, "M_BAD_JSON"],
      [{ ...good, password: {} }, "M_BAD_JSON"],
      [{ ...good, inhibit_login: "true" }, "M_BAD_JSON"],
      [{ ...good, refresh_token: 1 }, "M_BAD_JSON"],
      [{ ...good, device_id: [] }, "M_BAD_JSON"],
      [{ ...good, device_id: "\0" }, "M_INVALID_PARAM"],
    ];
    for (const [body, errcode] of cases) refused(await register(body), 400, errcode);
    refused(await server.request("POST", `${REGISTER}?kind=other`, good), 400, "M_INVALID_PARAM");
  });

  test("guests are not let in", async () => {
    const answer = await server.request("POST", `${REGISTER}?kind=guest`, {});
    refused(answer, 403, "M_GUEST_ACCESS_FORBIDDEN");
  });
});

suite("registration with tokens and terms", () => {
  const policies = [
    { id: "terms", version: "1.2", language: "en", name: "Terms", url: "https://example.org/t" },
    { id: "terms", version: "1.2", language: "fr", name: "Règles", url: "https://example.org/f" },
  ];
  let server: AccountServer;

  before(async () => {
    server = await openAccountServer({ registration: { requiresToken: true, policies } });
  });
  after(() => server[Symbol.asyncDispose]());

  const register = (body: object): Promise<Answer> => server.request("POST", REGISTER, body);

  /** Goes through both stages. */
  async function make(username: string, token: string): Promise<Answer> {
    const wanted = { username, password: "a good password" };
    const { body } = await register(wanted);
    const { session } = body;
    const type = "m.login.registration_token";
    const first = await register({ ...wanted, auth: { type, token, session } });
    if (first.body["errcode"] !== undefined) return first;
    return register({ ...wanted, auth: { type: "m.login.terms", session } });
  }

  test("the stages are done in order, and what was agreed to is noted", async () => {
    const token = await server.accounts.registrationTokens.create();
    const wanted = { username: "alice", password: "a good password" };
    const { body } = await register(wanted);
    const { session } = body;
    const stages = ["m.login.registration_token", "m.login.terms"];
    assert.deepEqual(body["flows"], [{ stages }]);
    assert.deepEqual(body["params"], {
      "m.login.terms": {
        policies: {
          terms: {
            version: "1.2",
            en: { name: "Terms", url: "https://example.org/t" },
            fr: { name: "Règles", url: "https://example.org/f" },
          },
        },
      },
    });
    const early = await register({ ...wanted, auth: { type: "m.login.terms", session } });
    refused(early, 401, "M_FORBIDDEN");
    const wrong = await register({
      ...wanted,
      auth: { type: "m.login.registration_token", token: "wrong", session },
    });
    refused(wrong, 401, "M_UNAUTHORIZED");
    const auth = { type: "m.login.registration_token", token, session };
    const right = await register({ ...wanted, auth });
    assert.equal(right.status, 401);
    assert.deepEqual(right.body["completed"], ["m.login.registration_token"]);
    assert.equal(right.body["errcode"], undefined);
    // What is done needs not be done again.
    assert.deepEqual((await register({ ...wanted, auth })).body["completed"], stages.slice(0, 1));
    const made = await register({ ...wanted, auth: { type: "m.login.terms", session } });
    assert.equal(made.status, 200, made.text);
    const agreed = await accountsTable.listAgreements(
      server.accounts.database.db,
      "@alice:example.org",
    );
    assert.deepEqual(agreed, [
      { policy_id: "terms", version: "1.2", agreed_ts: server.accounts.now },
    ]);
  });

  test("V125: a token for one use makes one account of 64 that want it at once", async () => {
    const token = await server.accounts.registrationTokens.create({ usesAllowed: 1 });
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, i) => make(`many${i}`, token)),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    const others = answers.filter(({ status }) => status !== 200);
    assert.ok(others.every(({ status }) => status === 401 || status === 403));
    const [row] = (await server.accounts.registrationTokens.list()).filter(
      (one) => one.token === token,
    );
    assert.equal(row?.completed, 1);
  });

  test("a token expires, is used up, and can be taken back", async () => {
    const { registrationTokens } = server.accounts;
    const valid = async (token: string) =>
      (await server.request("GET", `${VALIDITY}?token=${encodeURIComponent(token)}`)).body;
    const brief = await registrationTokens.create({ expiresTs: server.accounts.now + 1000 });
    const twice = await registrationTokens.create({ token: "a.b~c-d_E", usesAllowed: 2 });
    assert.deepEqual(await valid(brief), { valid: true });
    assert.deepEqual(await valid(twice), { valid: true });
    server.accounts.now += 1000;
    assert.deepEqual(await valid(brief), { valid: false });
    refused(await make("late", brief), 401, "M_UNAUTHORIZED");
    assert.equal((await make("one", twice)).status, 200);
    assert.equal((await make("two", twice)).status, 200);
    assert.deepEqual(await valid(twice), { valid: false });
    for (const odd of ["", "\0", "no such", "x".repeat(65), "ü"]) {
      assert.deepEqual(await valid(odd), { valid: false });
    }
    assert.equal(await registrationTokens.remove(twice), true);
    assert.equal(await registrationTokens.remove(twice), false);
    for (const token of ["a b", "", "x".repeat(65), brief]) {
      await assert.rejects(registrationTokens.create({ token }), { errcode: "M_INVALID_PARAM" });
    }
  });

  test("a token is counted only where an account was made", async () => {
    const token = await server.accounts.registrationTokens.create({ usesAllowed: 1 });
    const wanted = { username: "raced", password: "a good password" };
    const { session } = (await register(wanted)).body;
    const type = "m.login.registration_token";
    await register({ ...wanted, auth: { type, token, session } });
    await server.register("raced");
    const late = await register({ ...wanted, auth: { type: "m.login.terms", session } });
    refused(late, 400, "M_USER_IN_USE");
    assert.equal((await make("unraced", token)).status, 200);
  });
});

suite("registration that is closed", () => {
  let server: AccountServer;

  before(async () => {
    server = await openAccountServer({
      registration: { isEnabled: false },
      settings: { registrationSharedSecret: undefined },
    });
  });
  after(() => server[Symbol.asyncDispose]());

  test("nobody can register, ask for names or for tokens", async () => {
    refused(await server.request("POST", REGISTER, {}), 403, "M_FORBIDDEN");
    refused(await server.request("GET", `${AVAILABLE}?username=a`), 403, "M_FORBIDDEN");
    refused(await server.request("GET", `${VALIDITY}?token=a`), 403, "M_FORBIDDEN");
  });

  test("V119: without a shared secret there is no registration with one", async () => {
    refused(await server.request("GET", ADMIN), 403, "M_FORBIDDEN");
    const body = { nonce: "x", username: "a", password: "a good password", mac: "0" };
    refused(await server.request("POST", ADMIN, body), 403, "M_FORBIDDEN");
  });
});

suite("registration with a shared secret", () => {
  const secret = "the shared secret";
  let server: AccountServer;

  before(async () => {
    server = await openAccountServer({
      registration: { isEnabled: false },
      settings: { registrationSharedSecret: secret },
    });
  });
  after(() => server[Symbol.asyncDispose]());

  const nonceOf = async () => String((await server.request("GET", ADMIN)).body["nonce"]);
  const macOf = (...parts: string[]) =>
    createHmac("sha1", secret).update(parts.join("\0")).digest("hex");

  test("an administrator is made, logged in, with a display name", async () => {
    const nonce = await nonceOf();
    const password = "a good password";
    const answer = await server.request("POST", ADMIN, {
      nonce,
      username: "root",
      displayname: "Root",
      password,
      admin: true,
      mac: macOf(nonce, "root", password, "admin"),
    });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.body["user_id"], "@root:example.org");
    assert.equal(answer.body["home_server"], "example.org");
    const account = await server.accounts.accounts.get("@root:example.org");
    assert.equal(account.is_admin, true);
    const profile = await server.request("GET", "/_matrix/client/v3/profile/@root:example.org");
    assert.deepEqual(profile.body, { displayname: "Root" });
    const whoami = await server.request(
      "GET",
      "/_matrix/client/v3/account/whoami",
      undefined,
      String(answer.body["access_token"]),
    );
    assert.equal(whoami.status, 200);
  });

  test("the kind of user, where it is named, is part of the MAC", async () => {
    const nonce = await nonceOf();
    const password = "a good password";
    const answer = await server.request("POST", ADMIN, {
      nonce,
      username: "bot",
      password,
      user_type: "bot",
      mac: macOf(nonce, "bot", password, "notadmin", "bot").toUpperCase(),
    });
    assert.equal(answer.status, 200, answer.text);
    assert.equal((await server.accounts.accounts.get("@bot:example.org")).is_admin, false);
  });

  test("V119: a nonce is ours, good once and for a minute", async () => {
    const password = "a good password";
    const post = (nonce: string, username: string) =>
      server.request("POST", ADMIN, {
        nonce,
        username,
        password,
        mac: macOf(nonce, username, password, "notadmin"),
      });
    const nonce = await nonceOf();
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => post(nonce, `parallel${i}`)),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    refused(await post(nonce, "again"), 400, "M_INVALID_PARAM");
    const old = await nonceOf();
    server.accounts.now += 60_000;
    refused(await post(old, "late"), 400, "M_INVALID_PARAM");
    const [, random = "", signature = ""] = (await nonceOf()).split(".");
    for (const forged of [
      "",
      "x",
      `99999999999999.${random}.${signature}`,
      `${server.accounts.now + 9e9}.${"A".repeat(43)}.${"0".repeat(64)}`,
    ]) {
      refused(await post(forged, "forged"), 400, "M_INVALID_PARAM");
    }
  });

  test("V119: a wrong MAC makes no account", async () => {
    const password = "a good password";
    const nonce = await nonceOf();
    const good = macOf(nonce, "mallory", password, "notadmin");
    for (const [mac, admin] of [
      ["", false],
      ["0".repeat(40), false],
      [good.slice(1), false],
      [good, true],
      [macOf(nonce, "mallory", "other", "notadmin"), false],
    ] as const) {
      const body = { nonce, username: "mallory", password, admin, mac };
      refused(await server.request("POST", ADMIN, body), 403, "M_FORBIDDEN");
    }
    // Text that runs over from one field into the next is another text.
    const mac = macOf(nonce, "mallory\0x", "y", "notadmin");
    const shifted = { nonce, username: "mallory", password: "x\0y", mac };
    assert.notEqual((await server.request("POST", ADMIN, shifted)).status, 200);
    assert.equal(await server.accounts.accounts.exists("@mallory:example.org"), false);
    // The nonce is still good: a mistake does not use it up.
    const right = { nonce, username: "mallory", password, mac: good };
    assert.equal((await server.request("POST", ADMIN, right)).status, 200);
  });

  test("a bad name or password is told, and the nonce stays good", async () => {
    const nonce = await nonceOf();
    const post = (username: string, password: string) =>
      server.request("POST", ADMIN, {
        nonce,
        username,
        password,
        mac: macOf(nonce, username, password, "notadmin"),
      });
    refused(await post("Upper", "a good password"), 400, "M_INVALID_USERNAME");
    refused(await post("fine", "short"), 400, "M_WEAK_PASSWORD");
    assert.equal((await post("fine", "a good password")).status, 200);
    const { rows } = await server.accounts.database.pool.query("select 1 from registration_nonces");
    assert.ok(rows.length > 0);
    server.accounts.now += 60_001;
    await server.accounts.sweep();
    const left = await server.accounts.database.pool.query("select 1 from registration_nonces");
    assert.equal(left.rowCount, 0);
  });
});

suite("guests", () => {
  let server: AccountServer;

  before(async () => {
    server = await openAccountServer({ registration: { allowsGuests: true } });
  });
  after(() => server[Symbol.asyncDispose]());

  test("a guest has a name and device of the server's choice, and few rights", async () => {
    const { status, body } = await server.request("POST", `${REGISTER}?kind=guest`, {
      username: "ignored",
      password: "ignored",
      device_id: "IGNORED",
      initial_device_display_name: "Visitor",
    });
    assert.equal(status, 200);
    const userId = String(body["user_id"]);
    assert.match(userId, /^@guest-[a-z]{12}:example\.org$/);
    assert.notEqual(body["device_id"], "IGNORED");
    const token = String(body["access_token"]);
    const call = (method: string, path: string, content?: object) =>
      server.request(method, `/_matrix/client/v3/${path}`, content, token);
    assert.equal((await call("GET", "account/whoami")).body["is_guest"], true);
    const devices = (await call("GET", "devices")).body["devices"] as object[];
    assert.deepEqual(
      devices.map((d) => (d as { display_name: string }).display_name),
      ["Visitor"],
    );
    const named = await call("PUT", `profile/${userId}/displayname`, { displayname: "V" });
    assert.equal(named.status, 200);
    const forbidden: [string, string, object?][] = [
      ["PUT", `profile/${userId}/avatar_url`, { avatar_url: "mxc://example.org/a" }],
      ["PUT", `user/${userId}/account_data/x`, {}],
      ["PUT", `user/${userId}/rooms/!a:example.org/tags/x`, {}],
      ["POST", `user/${userId}/openid/request_token`, {}],
      ["POST", "account/password", { new_password: "a good password" }],
      ["POST", "account/deactivate", {}],
      ["GET", "account/3pid"],
      ["DELETE", `devices/${String(body["device_id"])}`, {}],
    ];
    for (const [method, path, content] of forbidden) {
      refused(await call(method, path, content), 403, "M_GUEST_ACCESS_FORBIDDEN");
    }
  });

  test("a guest becomes a user under the same name, by the guest's token only", async () => {
    const guest = (await server.request("POST", `${REGISTER}?kind=guest`, {})).body;
    const username = String(guest["user_id"]).slice(1, -":example.org".length);
    const token = guest["access_token"];
    const wanted = { username, password: "a good password", guest_access_token: token };
    const auth = { type: "m.login.dummy" };
    const other = await server.register("other");
    for (const bad of [
      { ...wanted, username: "somebody" },
      { ...wanted, guest_access_token: other.token },
    ]) {
      refused(await server.request("POST", REGISTER, { ...bad, auth }), 403, "M_FORBIDDEN");
    }
    const taken = { username, password: "a good password", auth };
    refused(await server.request("POST", REGISTER, taken), 400, "M_USER_IN_USE");
    const made = await server.request("POST", REGISTER, { ...wanted, auth });
    assert.equal(made.status, 200, made.text);
    assert.equal(made.body["user_id"], guest["user_id"]);
    const me = await server.request(
      "GET",
      "/_matrix/client/v3/account/whoami",
      undefined,
      String(made.body["access_token"]),
    );
    assert.equal(me.body["is_guest"], false);
    const user = { userId: `@${username}:example.org`, password: "a good password" } as const;
    assert.equal((await server.logIn(user)).userId, user.userId);
  });
});

test("S32: who asks for many names, or begins many registrations, is told to wait", async () => {
  await using server = await openAccountServer({ limited: true });
  let asked = 0;
  let answer: Answer;
  do {
    answer = await server.request("GET", `${AVAILABLE}?username=name${asked}`);
    asked += 1;
  } while (answer.status === 200 && asked < 100);
  refused(answer, 429, "M_LIMIT_EXCEEDED");
  assert.ok(Number(answer.body["retry_after_ms"]) > 0);
  assert.equal(asked, 21);
  // Asking does not keep anybody from registering: a whole registration counts as one.
  const names = ["a", "b", "c", "d", "e"];
  for (const username of names) {
    const wanted = { username, password: "a good password" };
    const { body } = await server.request("POST", REGISTER, wanted);
    const auth = { type: "m.login.dummy", session: body["session"] };
    const made = await server.request("POST", REGISTER, { ...wanted, auth });
    assert.equal(made.status, 200, made.text);
  }
  refused(await server.request("POST", REGISTER, {}), 429, "M_LIMIT_EXCEEDED");
});
