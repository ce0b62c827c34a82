import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type AccountServer, type Alice, openAccountServer, refused } from "./accounts-testing.ts";
import { discovery } from "./discovery.ts";
import { serveRoutes } from "./testing.ts";

suite("what a client learns of a server", () => {
  let server: AccountServer;
  let alice: Alice;

  before(async () => {
    server = await openAccountServer();
    alice = await server.register("alice");
  });
  after(() => server[Symbol.asyncDispose]());

  test("versions have the forms that the specification gives them", async () => {
    const { body } = await server.request("GET", "/_matrix/client/versions");
    const versions = body["versions"] as string[];
    assert.ok(versions.includes("v1.1"));
    for (const version of versions) assert.match(version, /^(v1\.\d+|r0\.\d\.\d)$/);
    for (const value of Object.values(body["unstable_features"] as object)) {
      assert.equal(typeof value, "boolean");
    }
  });

  test("a domain leads to its server, with what else is configured", async () => {
    const { body, headers } = await server.request("GET", "/.well-known/matrix/client");
    assert.deepEqual(body, {
      "org.example.more": { a: 1 },
      "m.homeserver": { base_url: "https://matrix.example.org/" },
    });
    assert.equal(headers.get("access-control-allow-origin"), "*");
    refused(await server.request("GET", "/.well-known/matrix/support"), 404, "M_NOT_FOUND");
  });

  test("capabilities are those of the user", async () => {
    refused(await server.request("GET", "/_matrix/client/v3/capabilities"), 401, "M_MISSING_TOKEN");
    const { body } = await alice.request("GET", "/_matrix/client/v3/capabilities");
    const capabilities = body["capabilities"] as Record<string, Record<string, unknown>>;
    assert.deepEqual(capabilities["m.change_password"], { enabled: true });
    assert.deepEqual(capabilities["m.3pid_changes"], { enabled: false });
    assert.deepEqual(capabilities["m.get_login_token"], { enabled: true });
    assert.deepEqual(capabilities["m.profile_fields"], { enabled: true });
    const versions = capabilities["m.room_versions"];
    assert.equal(versions?.["default"], "12");
    assert.equal((versions?.["available"] as Record<string, string> | undefined)?.["12"], "stable");
  });

  test("an OpenID token is given to its user only, and lasts an hour", async () => {
    const path = (userId: string) => `/_matrix/client/v3/user/${userId}/openid/request_token`;
    const { body } = await alice.request("POST", path(alice.userId), {});
    const { access_token, ...rest } = body;
    assert.deepEqual(rest, {
      token_type: "Bearer",
      matrix_server_name: "example.org",
      expires_in: 3600,
    });
    const { openId } = server.accounts;
    assert.equal(await openId.find(String(access_token)), alice.userId);
    for (let i = 0; i < 205; i += 1) await openId.createToken("@many:example.org");
    const { rowCount } = await server.accounts.database.pool.query(
      "select 1 from openid_tokens where user_id = '@many:example.org'",
    );
    assert.equal(rowCount, 200);
    // It opens nothing else.
    const whoami = "/_matrix/client/v3/account/whoami";
    const misused = await server.request("GET", whoami, undefined, String(access_token));
    refused(misused, 401, "M_UNKNOWN_TOKEN");
    assert.equal(await openId.find(alice.token), undefined);
    server.accounts.now += 3_600_000;
    assert.equal(await openId.find(String(access_token)), undefined);
    refused(await alice.request("POST", path("@bob:example.org"), {}), 403, "M_FORBIDDEN");
  });
});

test("support is told where it is configured", async () => {
  const routes = discovery({
    publicBaseUrl: "https://matrix.example.org/",
    extraClientContent: {},
    support: {
      page: "https://example.org/help",
      contacts: [
        { role: "m.role.admin", matrix_id: "@admin:example.org", email_address: undefined },
        { role: "m.role.security", matrix_id: undefined, email_address: undefined },
      ],
    },
  });
  await using http = await serveRoutes(routes, () => Promise.reject(new Error("nobody")));
  assert.deepEqual((await http.request("GET", "/.well-known/matrix/support")).body, {
    contacts: [{ role: "m.role.admin", matrix_id: "@admin:example.org" }],
    support_page: "https://example.org/help",
  });
});
