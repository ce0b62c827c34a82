import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type AccountServer, type Alice, openAccountServer, refused } from "./accounts-testing.ts";

suite("server administration", () => {
  let server: AccountServer;
  let admin: Alice;
  let alice: Alice;

  before(async () => {
    server = await openAccountServer();
    admin = await server.register("admin");
    alice = await server.register("alice");
    await server.accounts.accounts.setRights(admin.userId, { is_admin: true });
  });
  after(() => server[Symbol.asyncDispose]());

  const whois = (who: Alice, userId: string) =>
    who.request("GET", `/_matrix/client/v3/admin/whois/${userId}`);

  test("users look themselves up, and administrators anybody", async () => {
    for (const who of [alice, admin]) {
      const { body } = await whois(who, alice.userId);
      assert.deepEqual(body, {
        user_id: alice.userId,
        devices: {
          [alice.deviceId]: {
            sessions: [
              {
                connections: [
                  { ip: "127.0.0.1", last_seen: server.accounts.now, user_agent: "test" },
                ],
              },
            ],
          },
        },
      });
    }
    refused(await whois(alice, admin.userId), 403, "M_FORBIDDEN");
    refused(await whois(admin, "@nobody:example.org"), 404, "M_NOT_FOUND");
    refused(await whois(admin, "@alice:elsewhere.org"), 400, "M_INVALID_PARAM");
  });

  for (const [kind, key, errcode, status] of [
    ["suspend", "suspended", "M_USER_SUSPENDED", 403],
    ["lock", "locked", "M_USER_LOCKED", 401],
  ] as const) {
    test(`an administrator can ${kind} a user and end it`, async () => {
      const path = (userId: string) => `/_matrix/client/v1/admin/${kind}/${userId}`;
      const profile = `/_matrix/client/v3/profile/${alice.userId}/displayname`;
      const rename = () => alice.request("PUT", profile, { displayname: "A" });
      assert.deepEqual((await admin.request("GET", path(alice.userId))).body, { [key]: false });
      const set = await admin.request("PUT", path(alice.userId), { [key]: true });
      assert.deepEqual(set.body, { [key]: true });
      assert.deepEqual((await admin.request("GET", path(alice.userId))).body, { [key]: true });
      refused(await rename(), status, errcode);
      await assert.rejects(server.rights.assertMayAct(alice.userId), { errcode });
      await admin.request("PUT", path(alice.userId), { [key]: false });
      assert.equal((await rename()).status, 200);
      await server.rights.assertMayAct(alice.userId);
    });

    test(`who may ${kind} whom is checked first`, async () => {
      const path = (userId: string) => `/_matrix/client/v1/admin/${kind}/${userId}`;
      const other = await server.register(`other-${kind}`);
      await server.accounts.accounts.setRights(other.userId, { is_admin: true });
      const gone = await server.register(`gone-${kind}`);
      await server.accounts.accounts.deactivate(gone.userId, { erase: false });
      const put = (who: Alice, userId: string, body: unknown = { [key]: true }) =>
        who.request("PUT", path(userId), body);
      for (const userId of [admin.userId, "@nobody:example.org", "@x:elsewhere.org"]) {
        refused(await put(alice, userId), 403, "M_FORBIDDEN");
        refused(await alice.request("GET", path(userId)), 403, "M_FORBIDDEN");
      }
      refused(await put(admin, admin.userId), 403, "M_FORBIDDEN");
      refused(await put(admin, other.userId), 403, "M_FORBIDDEN");
      refused(await admin.request("GET", path(other.userId)), 403, "M_FORBIDDEN");
      for (const userId of ["@nobody:example.org", gone.userId]) {
        refused(await put(admin, userId), 404, "M_NOT_FOUND");
        refused(await admin.request("GET", path(userId)), 404, "M_NOT_FOUND");
      }
      refused(await put(admin, "@x:elsewhere.org"), 400, "M_INVALID_PARAM");
      refused(await put(admin, alice.userId, {}), 400, "M_MISSING_PARAM");
      refused(await put(admin, alice.userId, { [key]: 1 }), 400, "M_BAD_JSON");
    });
  }

  test("an administrator who is one no longer has no say at once", async () => {
    const brief = await server.register("brief");
    await server.accounts.accounts.setRights(brief.userId, { is_admin: true });
    const path = `/_matrix/client/v1/admin/lock/${alice.userId}`;
    assert.equal((await brief.request("GET", path)).status, 200);
    assert.equal(await server.rights.isAdmin(brief.userId), true);
    await server.accounts.accounts.setRights(brief.userId, { is_admin: false });
    refused(await brief.request("GET", path), 403, "M_FORBIDDEN");
    assert.equal(await server.rights.isAdmin(brief.userId), false);
  });
});
