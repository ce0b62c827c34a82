import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type AccountServer, openAccountServer, refused } from "./accounts-testing.ts";
import type { Answer } from "./testing.ts";

const REGISTER = "/_matrix/client/v3/register";
const pathOf = (stage: string, session: unknown) =>
  `/_matrix/client/v3/auth/${stage}/fallback/web?session=${encodeURIComponent(String(session))}`;

/** Texts that break out of carelessly written HTML. */
const PAYLOADS = [
  `"><script>alert(1)</script>`,
  `'><img src=x onerror=alert(1)>`,
  `</style><script>alert(1)</script>`,
  `javascript:alert(1)`,
  "`${alert(1)}`",
  `&quot;&gt;<svg/onload=alert(1)>`,
  `" autofocus onfocus="alert(1)`,
  `\u2028</title><iframe srcdoc="<script>alert(1)</script>">`,
];

suite("authentication in a browser", () => {
  const policies = [
    {
      id: "p",
      version: "1",
      language: "en",
      name: `<b>"Privacy"</b>`,
      url: "https://example.org/p",
    },
    { id: "q", version: "1", language: "en", name: "Odd", url: "javascript:alert(1)" },
  ];
  let server: AccountServer;

  before(async () => {
    server = await openAccountServer({ registration: { requiresToken: true, policies } });
  });
  after(() => server[Symbol.asyncDispose]());

  const post = (path: string, fields: Record<string, string>): Promise<Answer> =>
    server.request("POST", path, new URLSearchParams(fields).toString(), undefined, {
      "content-type": "application/x-www-form-urlencoded",
    });

  function closed({ headers, text }: Answer): void {
    const policy = headers.get("content-security-policy") ?? "";
    assert.match(policy, /default-src 'none'/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.match(policy, /base-uri 'none'/);
    assert.doesNotMatch(policy, /unsafe/);
    assert.equal(headers.get("x-frame-options"), "DENY");
    assert.equal(headers.get("cache-control"), "no-store");
    assert.equal(headers.get("content-type"), "text/html; charset=utf-8");
    const [, nonce] = /script-src 'nonce-([^']+)'/.exec(policy) ?? [];
    for (const [tag] of text.matchAll(/<script[^>]*>/g)) {
      assert.equal(tag, `<script nonce="${nonce}">`);
    }
  }

  test("all stages of a registration are done in pages, and the client goes on", async () => {
    const token = await server.accounts.registrationTokens.create({ usesAllowed: 1 });
    const wanted = { username: "alice", password: "a good password" };
    const session = String((await server.request("POST", REGISTER, wanted)).body["session"]);

    const first = pathOf("m.login.registration_token", session);
    const page = await server.request("GET", first);
    assert.equal(page.status, 200);
    closed(page);
    assert.match(page.text, /name="token"/);
    const wrong = await post(first, { session, token: "wrong" });
    assert.equal(wrong.status, 401);
    assert.match(wrong.text, /Invalid registration token/);
    closed(wrong);
    const early = await post(pathOf("m.login.terms", session), { session });
    assert.equal(early.status, 401);
    const done = await post(first, { session, token });
    assert.equal(done.status, 200);
    assert.match(done.text, /window\.onAuthDone\(\)/);
    assert.match(done.text, /window\.opener\.postMessage\("authDone", "\*"\)/);
    closed(done);

    const terms = await server.request("GET", pathOf("m.login.terms", session));
    assert.match(terms.text, /&#60;b&#62;&#34;Privacy&#34;&#60;\/b&#62;/);
    assert.doesNotMatch(terms.text, /javascript:/);
    closed(terms);
    assert.equal((await post(pathOf("m.login.terms", session), { session })).status, 200);

    const made = await server.request("POST", REGISTER, { ...wanted, auth: { session } });
    assert.equal(made.status, 200, made.text);
    assert.equal(made.body["user_id"], "@alice:example.org");
    // The session has ended.
    assert.equal((await server.request("GET", first)).status, 404);
  });

  test("a password is asked for in a page of the user's own session", async () => {
    const bob = await server.register("bob");
    const mallory = await server.register("mallory");
    await server.logIn(bob, { device_id: "OLD" });
    const device = "/_matrix/client/v3/devices/OLD";
    const session = String((await bob.request("DELETE", device)).body["session"]);
    const path = pathOf("m.login.password", session);
    const page = await server.request("GET", path);
    assert.match(page.text, /@bob:example\.org/);
    const foreign = await post(path, { session, user: "mallory", password: mallory.password });
    assert.equal(foreign.status, 401);
    assert.equal((await post(path, { session, user: "bob", password: bob.password })).status, 200);
    refused(await mallory.request("DELETE", device, { auth: { session } }), 403, "M_FORBIDDEN");
    assert.equal((await bob.request("DELETE", device, { auth: { session } })).status, 200);
  });

  test("V115: nothing that a stranger writes becomes part of a page", async () => {
    const wanted = { username: "carol", password: "a good password" };
    const session = String((await server.request("POST", REGISTER, wanted)).body["session"]);
    for (const payload of PAYLOADS) {
      const path = pathOf("m.login.registration_token", payload);
      const answers = [
        await server.request("GET", path),
        await post(path, { session: payload, token: payload }),
        await post(path, { session, token: payload, user: payload, password: payload }),
      ];
      for (const answer of answers) {
        closed(answer);
        assert.ok(!answer.text.includes(payload), payload);
        assert.doesNotMatch(answer.text, /alert\(1\)/);
      }
      const login = await server.request(
        "GET",
        `/_matrix/static/client/login/?device_id=${encodeURIComponent(payload)}`,
      );
      closed(login);
      assert.doesNotMatch(login.text, /alert\(1\)/);
    }
  });

  test("unknown stages, sessions and too large forms are refused", async () => {
    refused(await server.request("GET", pathOf("m.login.sso", "x")), 400, "M_INVALID_PARAM");
    const none = "/_matrix/client/v3/auth/m.login.dummy/fallback/web";
    refused(await server.request("GET", none), 400, "M_MISSING_PARAM");
    assert.equal((await server.request("GET", pathOf("m.login.dummy", "unknown"))).status, 404);
    const wanted = { username: "dave", password: "a good password" };
    const { session } = (await server.request("POST", REGISTER, wanted)).body;
    // Not a stage of this session.
    assert.equal((await server.request("GET", pathOf("m.login.dummy", session))).status, 404);
    const large = await post(pathOf("m.login.dummy", session), { token: "x".repeat(9000) });
    refused(large, 413, "M_TOO_LARGE");
  });
});
