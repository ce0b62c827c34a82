import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import * as profilesTable from "../storage/profiles.ts";
import { type AccountServer, type Alice, openAccountServer, refused } from "./accounts-testing.ts";

suite("profiles", () => {
  let server: AccountServer;
  let alice: Alice;
  let bob: Alice;
  let failure: Error | undefined;

  before(async () => {
    server = await openAccountServer({
      async updateMemberProfiles() {
        if (failure !== undefined) throw failure;
      },
    });
    alice = await server.register("alice");
    bob = await server.register("bob");
  });
  after(() => server[Symbol.asyncDispose]());

  const pathOf = (who: string, field?: string) =>
    `/_matrix/client/v3/profile/${who}${field === undefined ? "" : `/${encodeURIComponent(field)}`}`;
  const set = (field: string, value: unknown) =>
    alice.request("PUT", pathOf(alice.userId, field), { [field]: value });
  const get = async (field?: string) =>
    (await server.request("GET", pathOf(alice.userId, field))).body;

  test("a profile is empty at first, and anybody may read it", async () => {
    assert.deepEqual(await get(), {});
    refused(await server.request("GET", pathOf(alice.userId, "displayname")), 404, "M_NOT_FOUND");
    refused(await server.request("GET", pathOf("@nobody:example.org")), 404, "M_NOT_FOUND");
    refused(await server.request("GET", pathOf("@alice:elsewhere.org")), 404, "M_NOT_FOUND");
    refused(await server.request("GET", pathOf("alice")), 400, "M_INVALID_PARAM");
  });

  test("names are set, told to the stream, and sent into the rooms", async () => {
    const before = server.accounts.stream.position;
    assert.deepEqual((await set("displayname", "Alice \0 🐈")).body, {});
    assert.equal((await set("avatar_url", "mxc://example.org/abc")).status, 200);
    assert.deepEqual(await get("displayname"), { displayname: "Alice \0 🐈" });
    assert.deepEqual(await get(), {
      avatar_url: "mxc://example.org/abc",
      displayname: "Alice \0 🐈",
    });
    const entries = server.accounts.stream.after(before) ?? [];
    assert.deepEqual(
      entries.map(({ kind, userId, data }) => ({ kind, userId, data })),
      ["displayname", "avatar_url"].map((field) => ({
        kind: "profile",
        userId: alice.userId,
        data: { field },
      })),
    );
    assert.deepEqual(server.sentNames.slice(-2), [
      { userId: alice.userId, names: { displayname: "Alice \0 🐈" } },
      {
        userId: alice.userId,
        names: { avatar_url: "mxc://example.org/abc", displayname: "Alice \0 🐈" },
      },
    ]);
    // The same again changes nothing.
    await set("displayname", "Alice \0 🐈");
    assert.equal(server.accounts.stream.position, before + 2);
  });

  test("an empty or deleted name is gone", async () => {
    await set("displayname", "A");
    await set("displayname", "");
    refused(await server.request("GET", pathOf(alice.userId, "displayname")), 404, "M_NOT_FOUND");
    await set("avatar_url", "mxc://example.org/abc");
    await set("avatar_url", "");
    assert.equal((await get())["avatar_url"], undefined);
    await set("displayname", "B");
    const gone = await alice.request("DELETE", pathOf(alice.userId, "displayname"));
    assert.deepEqual(gone.body, {});
    assert.equal((await alice.request("DELETE", pathOf(alice.userId, "displayname"))).status, 200);
    assert.deepEqual(server.sentNames.at(-1)?.names, {});
  });

  test("custom fields hold any JSON, and no room hears of them", async () => {
    const sent = server.sentNames.length;
    const values = [null, 1, 1.5, "x", [], { a: [{}] }, false];
    for (const value of values) {
      assert.equal((await set("org.example.thing", value)).status, 200);
      assert.deepEqual(await get("org.example.thing"), { "org.example.thing": value });
    }
    assert.equal((await set("m.tz", "Europe/London")).status, 200);
    assert.equal(server.sentNames.length, sent);
    const large = await alice.request(
      "PUT",
      pathOf(alice.userId, "org.example.number"),
      '{"org.example.number":12345678901234567890.50}',
    );
    assert.equal(large.status, 200);
    const text = (await server.request("GET", pathOf(alice.userId, "org.example.number"))).text;
    assert.equal(text, '{"org.example.number":12345678901234567890.50}');
  });

  test("only one's own profile may be changed", async () => {
    const path = pathOf(alice.userId, "displayname");
    refused(await bob.request("PUT", path, { displayname: "Bob" }), 403, "M_FORBIDDEN");
    refused(await bob.request("DELETE", path), 403, "M_FORBIDDEN");
    refused(await server.request("PUT", path, {}), 401, "M_MISSING_TOKEN");
  });

  test("wrong values and names of fields are refused", async () => {
    const cases: [string, unknown, string][] = [
      ["displayname", 7, "M_BAD_JSON"],
      ["displayname", null, "M_BAD_JSON"],
      ["displayname", "x".repeat(257), "M_INVALID_PARAM"],
      ["avatar_url", {}, "M_BAD_JSON"],
      ["avatar_url", "https://example.org/a.png", "M_INVALID_PARAM"],
      ["avatar_url", `mxc://example.org/${"x".repeat(1000)}`, "M_INVALID_PARAM"],
      ["m.tz", 1, "M_BAD_JSON"],
      ["nonamespace", 1, "M_INVALID_PARAM"],
      ["Org.example", 1, "M_INVALID_PARAM"],
      ["org.example.ü", 1, "M_INVALID_PARAM"],
      ["org.example\0", 1, "M_INVALID_PARAM"],
      ["org..example", 1, "M_INVALID_PARAM"],
      ["__proto__", 1, "M_INVALID_PARAM"],
    ];
    for (const [field, value, errcode] of cases) {
      const body = `{${JSON.stringify(field)}:${JSON.stringify(value)}}`;
      refused(await alice.request("PUT", pathOf(alice.userId, field), body), 400, errcode);
    }
    const path = pathOf(alice.userId, "displayname");
    refused(await alice.request("PUT", path, {}), 400, "M_MISSING_PARAM");
    refused(await alice.request("PUT", path, []), 400, "M_BAD_JSON");
    refused(await alice.request("PUT", path, "{"), 400, "M_NOT_JSON");
    refused(await alice.request("DELETE", pathOf(alice.userId, "bad")), 400, "M_INVALID_PARAM");
  });

  test("V151: a key of more than 255 bytes, or a profile of 64 KiB, is too large", async () => {
    const key = (bytes: number) => `org.${"x".repeat(bytes - 4)}`;
    const carol = await server.register("carol");
    const put = (field: string, value: unknown) =>
      carol.request("PUT", pathOf(carol.userId, field), { [field]: value });
    assert.equal((await put(key(255), 1)).status, 200);
    refused(await put(key(256), 1), 400, "M_KEY_TOO_LARGE");
    await carol.request("DELETE", pathOf(carol.userId, key(255)));
    // As JSON: {"org.a":"…"} is 12 bytes and the value.
    assert.equal((await put("org.a", "x".repeat(65_535 - 12))).status, 200);
    const whole = (await server.request("GET", pathOf(carol.userId))).text;
    assert.equal(Buffer.byteLength(whole), 65_535);
    refused(await put("org.a", "x".repeat(65_536 - 12)), 400, "M_PROFILE_TOO_LARGE");
    refused(await put("org.b", 1), 400, "M_PROFILE_TOO_LARGE");
    await carol.request("DELETE", pathOf(carol.userId, "org.a"));
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => put(`org.p${i}`, "x".repeat(20_000))),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 3);
  });

  test("a suspended user changes nothing", async () => {
    await server.accounts.accounts.setRights(bob.userId, { is_suspended: true });
    const path = pathOf(bob.userId, "displayname");
    refused(await bob.request("PUT", path, { displayname: "Bob" }), 403, "M_USER_SUSPENDED");
    refused(await bob.request("DELETE", path), 403, "M_USER_SUSPENDED");
    await server.accounts.accounts.setRights(bob.userId, { is_suspended: false });
    assert.equal((await bob.request("PUT", path, { displayname: "Bob" })).status, 200);
  });

  test("member events that could not be sent are sent later", async () => {
    failure = new Error("the rooms are away");
    assert.equal((await set("displayname", "Later")).status, 200);
    const { db } = server.accounts.database;
    assert.deepEqual(
      (await profilesTable.listUpdates(db)).map((row) => row.user_id),
      [alice.userId],
    );
    failure = undefined;
    await server.profiles.resumeUpdates();
    assert.equal(server.sentNames.at(-1)?.names.displayname, "Later");
    assert.deepEqual(await profilesTable.listUpdates(db), []);
  });
});

test("fields that the server manages are changed by administrators only", async () => {
  await using server = await openAccountServer({ managedFields: ["displayname"] });
  const alice = await server.register("alice");
  const path = `/_matrix/client/v3/profile/${alice.userId}/displayname`;
  refused(await alice.request("PUT", path, { displayname: "A" }), 403, "M_FORBIDDEN");
  refused(await alice.request("DELETE", path), 403, "M_FORBIDDEN");
  const told = async () =>
    (await alice.request("GET", "/_matrix/client/v3/capabilities")).body["capabilities"];
  const before = (await told()) as Record<string, unknown>;
  assert.deepEqual(before["m.set_displayname"], { enabled: false });
  assert.deepEqual(before["m.profile_fields"], { enabled: true, disallowed: ["displayname"] });
  assert.equal(before["m.account_moderation"], undefined);
  await server.accounts.accounts.setRights(alice.userId, { is_admin: true });
  assert.equal((await alice.request("PUT", path, { displayname: "A" })).status, 200);
  const after = (await told()) as Record<string, unknown>;
  assert.deepEqual(after["m.set_displayname"], { enabled: true });
  assert.deepEqual(after["m.profile_fields"], { enabled: true });
  assert.deepEqual(after["m.account_moderation"], { suspend: true, lock: true });
});
