import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { type AccountServer, type Alice, openAccountServer, refused } from "./accounts-testing.ts";

const ROOM = "!room:example.org";

suite("account data, tags and filters", () => {
  let server: AccountServer;
  let alice: Alice;
  let bob: Alice;

  before(async () => {
    server = await openAccountServer();
    alice = await server.register("alice");
    bob = await server.register("bob");
  });
  after(() => server[Symbol.asyncDispose]());

  const globalOf = (who: string, type: string) =>
    `/_matrix/client/v3/user/${who}/account_data/${encodeURIComponent(type)}`;
  const roomOf = (who: string, type: string, room = ROOM) =>
    `/_matrix/client/v3/user/${who}/rooms/${room}/account_data/${encodeURIComponent(type)}`;
  const tagOf = (who: string, tag = "") =>
    `/_matrix/client/v3/user/${who}/rooms/${ROOM}/tags${tag === "" ? "" : `/${encodeURIComponent(tag)}`}`;

  test("data is kept, told to the stream, and apart for each room", async () => {
    const before = server.accounts.stream.position;
    const places = [globalOf(alice.userId, "org.example"), roomOf(alice.userId, "org.example")];
    for (const [i, path] of places.entries()) {
      refused(await alice.request("GET", path), 404, "M_NOT_FOUND");
      assert.deepEqual((await alice.request("PUT", path, { i, nul: "\0" })).body, {});
      assert.deepEqual((await alice.request("GET", path)).body, { i, nul: "\0" });
    }
    const entries = server.accounts.stream.after(before) ?? [];
    assert.deepEqual(
      entries.map(({ kind, userId, roomId, data }) => ({ kind, userId, roomId, data })),
      [undefined, ROOM].map((roomId, i) => ({
        kind: "account_data",
        userId: alice.userId,
        roomId,
        data: { type: "org.example", content: { i, nul: "\0" } },
      })),
    );
    const changed = await server.accountData.list(alice.userId, {
      after: before + 1,
      upTo: before + 2,
    });
    assert.deepEqual(changed, [
      { roomId: ROOM, type: "org.example", content: { i: 1, nul: "\0" } },
    ]);
  });

  test("setting the same again appends nothing, in whatever order its keys are", async () => {
    const path = globalOf(alice.userId, "org.example.same");
    await alice.request("PUT", path, '{"a":1,"b":{"c":1.50,"d":[]}}');
    const before = server.accounts.stream.position;
    await alice.request("PUT", path, '{"b":{"d":[],"c":1.50},"a":1}');
    assert.equal(server.accounts.stream.position, before);
    assert.equal((await alice.request("GET", path)).text, '{"a":1,"b":{"c":1.50,"d":[]}}');
    await alice.request("PUT", path, '{"a":2}');
    assert.equal(server.accounts.stream.position, before + 1);
  });

  test("what is too large for an entry is found in the table", async () => {
    const path = globalOf(alice.userId, "org.example.large");
    const before = server.accounts.stream.position;
    const content = { text: "x".repeat(100_000) };
    assert.equal((await alice.request("PUT", path, content)).status, 200);
    const [entry] = server.accounts.stream.after(before) ?? [];
    assert.deepEqual(entry?.data, { type: "org.example.large" });
    const found = await server.accountData.list(alice.userId, { after: before, upTo: before + 1 });
    assert.deepEqual(found, [{ type: "org.example.large", content }]);
    const huge = { text: "x".repeat(512 * 1024) };
    refused(await alice.request("PUT", path, huge), 413, "M_TOO_LARGE");
  });

  test("what the server manages cannot be set, but read", async () => {
    for (const path of [
      globalOf(alice.userId, "m.push_rules"),
      globalOf(alice.userId, "m.fully_read"),
      roomOf(alice.userId, "m.fully_read"),
      roomOf(alice.userId, "m.push_rules"),
    ]) {
      refused(await alice.request("PUT", path, {}), 405, "M_BAD_JSON");
    }
    const rules = await alice.request("GET", globalOf(alice.userId, "m.push_rules"));
    assert.deepEqual(rules.body, { global: {} });
    const all = await server.accountData.list(bob.userId);
    assert.deepEqual(all, [{ type: "m.push_rules", content: { global: {} } }]);
    await server.accountData.put({ userId: bob.userId, type: "m.push_rules" }, { own: 1 });
    const own = await server.accountData.list(bob.userId);
    assert.deepEqual(own, [{ type: "m.push_rules", content: { own: 1 } }]);
  });

  test("nobody reads or writes another user's", async () => {
    for (const path of [
      globalOf(alice.userId, "org.example"),
      roomOf(alice.userId, "org.example"),
    ]) {
      refused(await bob.request("GET", path), 403, "M_FORBIDDEN");
      refused(await bob.request("PUT", path, {}), 403, "M_FORBIDDEN");
    }
    refused(await bob.request("GET", tagOf(alice.userId)), 403, "M_FORBIDDEN");
    refused(await bob.request("PUT", tagOf(alice.userId, "u.x"), {}), 403, "M_FORBIDDEN");
    refused(await bob.request("DELETE", tagOf(alice.userId, "u.x")), 403, "M_FORBIDDEN");
  });

  test("odd paths and bodies are refused", async () => {
    const path = globalOf(alice.userId, "org.example");
    refused(await alice.request("PUT", path, []), 400, "M_BAD_JSON");
    refused(await alice.request("PUT", path, '"x"'), 400, "M_BAD_JSON");
    refused(await alice.request("PUT", path, "{"), 400, "M_NOT_JSON");
    refused(await alice.request("PUT", globalOf(alice.userId, "\0"), {}), 400, "M_INVALID_PARAM");
    const long = globalOf(alice.userId, "x".repeat(256));
    refused(await alice.request("PUT", long, {}), 400, "M_INVALID_PARAM");
    const odd = roomOf(alice.userId, "org.example", "@notaroom:example.org");
    refused(await alice.request("PUT", odd, {}), 400, "M_INVALID_PARAM");
    refused(await alice.request("GET", odd), 400, "M_INVALID_PARAM");
    const proto = globalOf(alice.userId, "__proto__");
    await alice.request("PUT", proto, '{"__proto__":{"a":1}}');
    assert.equal((await alice.request("GET", proto)).text, '{"__proto__":{"a":1}}');
  });

  test("tags are added, changed and removed, and are account data of their room", async () => {
    assert.deepEqual((await alice.request("GET", tagOf(alice.userId))).body, { tags: {} });
    await alice.request("PUT", tagOf(alice.userId, "m.favourite"), '{"order":0.50}');
    await alice.request("PUT", tagOf(alice.userId, "u.Work & play"), {});
    assert.equal(
      (await alice.request("GET", tagOf(alice.userId))).text,
      '{"tags":{"m.favourite":{"order":0.50},"u.Work & play":{}}}',
    );
    const data = await alice.request("GET", roomOf(alice.userId, "m.tag"));
    assert.deepEqual(data.body, { tags: { "m.favourite": { order: 0.5 }, "u.Work & play": {} } });
    await alice.request("DELETE", tagOf(alice.userId, "m.favourite"));
    const before = server.accounts.stream.position;
    await alice.request("DELETE", tagOf(alice.userId, "m.favourite"));
    assert.equal(server.accounts.stream.position, before);
    const left = await alice.request("GET", tagOf(alice.userId));
    assert.deepEqual(left.body, { tags: { "u.Work & play": {} } });
    const bad = { order: "0.5" };
    refused(await alice.request("PUT", tagOf(alice.userId, "u.x"), bad), 400, "M_BAD_JSON");
    const none = { order: null };
    refused(await alice.request("PUT", tagOf(alice.userId, "u.x"), none), 400, "M_BAD_JSON");
    const long = tagOf(alice.userId, "x".repeat(256));
    refused(await alice.request("PUT", long, {}), 400, "M_INVALID_PARAM");
  });

  test("tags that are set at the same time are all kept", async () => {
    const names = Array.from({ length: 16 }, (_, i) => `u.${i}`);
    const answers = await Promise.all(
      names.map((name) => bob.request("PUT", tagOf(bob.userId, name), {})),
    );
    assert.ok(answers.every(({ status }) => status === 200));
    const { tags } = (await bob.request("GET", tagOf(bob.userId))).body;
    assert.deepEqual(Object.keys(tags as object).toSorted(), names.toSorted());
  });

  test("a user's own m.tag of an odd form harms nothing", async () => {
    await alice.request("PUT", roomOf(alice.userId, "m.tag"), { tags: "none" });
    assert.deepEqual((await alice.request("GET", tagOf(alice.userId))).body, { tags: {} });
    await alice.request("PUT", tagOf(alice.userId, "__proto__"), {});
    assert.equal(
      (await alice.request("GET", tagOf(alice.userId))).text,
      '{"tags":{"__proto__":{}}}',
    );
  });

  test("a filter is given back as it was uploaded, under one ID", async () => {
    const path = `/_matrix/client/v3/user/${alice.userId}/filter`;
    const filter = { room: { timeline: { limit: 10 } }, "org.example.own": 1 };
    const first = await alice.request("POST", path, filter);
    assert.equal(first.status, 200);
    const id = String(first.body["filter_id"]);
    assert.match(id, /^[\w-]{22}$/);
    assert.equal((await alice.request("POST", path, filter)).body["filter_id"], id);
    assert.notEqual((await alice.request("POST", path, {})).body["filter_id"], id);
    assert.deepEqual((await alice.request("GET", `${path}/${id}`)).body, filter);
    refused(await alice.request("GET", `${path}/unknown`), 404, "M_NOT_FOUND");
    refused(await alice.request("GET", `${path}/%00`), 400, "M_INVALID_PARAM");
    refused(await bob.request("GET", `${path}/${id}`), 403, "M_FORBIDDEN");
    refused(await bob.request("POST", path, filter), 403, "M_FORBIDDEN");
    for (const bad of [
      { room: 1 },
      { room: { timeline: { limit: "x" } } },
      { event_fields: "x" },
    ]) {
      refused(await alice.request("POST", path, bad), 400, "M_BAD_JSON");
    }
  });
});
