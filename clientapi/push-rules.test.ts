import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import { at, openTestHouse, type TestHouse } from "../server/sync/testing.ts";
import { openReader, type Reader } from "../server/unread/testing.ts";
import type { UserId } from "../spec/identifiers.ts";
import { NO_USER_RULES } from "../spec/push-rules.ts";
import { notifications } from "./notifications.ts";
import { pushRules } from "./push-rules.ts";
import { type Answer, serveRoutes, type TestHttp } from "./testing.ts";

const alice: UserId = "@alice:gomin.test";
const bob: UserId = "@bob:gomin.test";
const V3 = "/_matrix/client/v3";

let house: TestHouse;
let reader: Reader;
let http: TestHttp;
before(async () => {
  house = await openTestHouse();
  reader = await openReader(house);
  // The token is the user.
  const routes = [...pushRules(reader.pushRules), ...notifications(reader.unread)];
  http = await serveRoutes(routes, async (token) => ({
    userId: token as UserId,
    deviceId: "DEVICE",
    tokenId: 1,
    isAdmin: false,
    isGuest: false,
    isSuspended: false,
  }));
});
after(async () => {
  await http[Symbol.asyncDispose]();
  await reader[Symbol.asyncDispose]();
  await house[Symbol.asyncDispose]();
  assert.deepEqual([...house.errors, ...reader.errors], []);
});

function ask(method: string, path: string, body?: unknown, user = alice): Promise<Answer> {
  return http.request(method, `${V3}${path}`, body, user);
}

async function idsOf(kind: string, user = alice): Promise<unknown[]> {
  const { body } = await ask("GET", "/pushrules/", undefined, user);
  return (at(body, "global", kind) as unknown[]).map((rule) => at(rule, "rule_id"));
}

suite("push rules", () => {
  test("are those of the server, with and without the last slash, and as in r0", async () => {
    const { body } = await ask("GET", "/pushrules/");
    assert.equal(at(body, "global", "override", 0, "rule_id"), ".m.rule.master");
    for (const path of ["/pushrules", "/pushrules/global", "/pushrules/global/"]) {
      const answer = await ask("GET", path);
      assert.deepEqual(path.includes("global") ? { global: answer.body } : answer.body, body);
      const old = await http.request("GET", `/_matrix/client/r0${path}`, undefined, alice);
      assert.deepEqual(old.body, answer.body);
    }
  });

  test("are made, placed, changed and removed", async () => {
    const path = "/pushrules/global/content";
    const rule = (pattern: string) => ({ pattern, actions: ["notify"] });
    assert.equal((await ask("PUT", `${path}/one`, rule("one"))).status, 200);
    assert.equal((await ask("PUT", `${path}/two`, rule("two"))).status, 200);
    assert.equal((await ask("PUT", `${path}/three?after=one`, rule("three"))).status, 200);
    assert.deepEqual(await idsOf("content"), ["two", "one", "three"]);
    assert.deepEqual((await ask("GET", `${path}/two`)).body, {
      rule_id: "two",
      default: false,
      enabled: true,
      pattern: "two",
      actions: ["notify"],
    });
    await ask("PUT", `${path}/two/enabled`, { enabled: false });
    assert.deepEqual((await ask("GET", `${path}/two/enabled`)).body, { enabled: false });
    const tweak = [{ set_tweak: "sound", value: "x" }];
    await ask("PUT", `${path}/two/actions`, { actions: tweak });
    assert.deepEqual((await ask("GET", `${path}/two/actions`)).body, { actions: tweak });
    assert.equal((await ask("DELETE", `${path}/two`)).status, 200);
    assert.equal((await ask("DELETE", `${path}/two`)).status, 404);
    assert.deepEqual(await idsOf("content"), ["one", "three"]);
    assert.deepEqual(await idsOf("content", bob), []);
  });

  test("of the server can be switched off, but neither replaced nor removed", async () => {
    const path = "/pushrules/global/override/.m.rule.master";
    await ask("PUT", `${path}/enabled`, { enabled: true });
    assert.deepEqual((await ask("GET", `${path}/enabled`)).body, { enabled: true });
    const replaced = await ask("PUT", path, { actions: [], conditions: [] });
    assert.equal(replaced.body["errcode"], "M_INVALID_PARAM");
    assert.equal((await ask("DELETE", path)).body["errcode"], "M_NOT_FOUND");
    await ask("PUT", `${path}/enabled`, { enabled: false });
  });

  test("that are wrong are refused, by what is wrong", async () => {
    const rule = { actions: ["notify"] };
    const cases: [string, string, unknown, number, string][] = [
      ["GET", "/pushrules/global/unknown/a", undefined, 400, "M_INVALID_PARAM"],
      ["GET", "/pushrules/global/override/a", undefined, 404, "M_NOT_FOUND"],
      ["GET", "/pushrules/global/override/a/enabled", undefined, 404, "M_NOT_FOUND"],
      ["PUT", "/pushrules/global/override/a/enabled", { enabled: true }, 404, "M_NOT_FOUND"],
      ["PUT", "/pushrules/global/override/a/enabled", {}, 400, "M_MISSING_PARAM"],
      ["PUT", "/pushrules/global/override/a/actions", { actions: [1] }, 400, "M_BAD_JSON"],
      ["PUT", "/pushrules/global/override/a", {}, 400, "M_MISSING_PARAM"],
      ["PUT", "/pushrules/global/override/a", [], 400, "M_BAD_JSON"],
      ["PUT", "/pushrules/global/override/a%2Fb", rule, 400, "M_INVALID_PARAM"],
      ["PUT", "/pushrules/global/override/a%00", rule, 400, "M_INVALID_PARAM"],
      ["PUT", "/pushrules/global/override/a?before=x", rule, 400, "M_UNKNOWN"],
      ["PUT", "/pushrules/global/room/a", rule, 400, "M_INVALID_PARAM"],
      ["PUT", "/pushrules/global/content/a", rule, 400, "M_MISSING_PARAM"],
      ["GET", "/notifications?from=x", undefined, 400, "M_INVALID_PARAM"],
      ["GET", "/notifications?limit=0", undefined, 400, "M_INVALID_PARAM"],
    ];
    for (const [method, path, body, status, errcode] of cases) {
      const answer = await ask(method, path, body);
      const told = `${method} ${path}`;
      assert.deepEqual([answer.status, answer.body["errcode"]], [status, errcode], told);
    }
  });

  test("appear as account data when they change, large ones too", async () => {
    const changed = async (since: number) =>
      reader.pushRules
        .among(reader.accountData)
        .list(bob, { after: since, upTo: house.stream.position });
    const since = house.stream.position;
    await ask("PUT", "/pushrules/global/override/a", { actions: [] }, bob);
    const expected = { type: "m.push_rules", content: { global: await reader.pushRules.get(bob) } };
    assert.deepEqual(await changed(since), [expected]);
    assert.deepEqual(await changed(house.stream.position), []);
    const [entry] = house.stream.after(since) ?? [];
    assert.deepEqual(entry?.data, expected);
    const all = await reader.pushRules.among(reader.accountData).list(bob);
    assert.deepEqual(all, [expected]);

    const pattern = "p".repeat(1000);
    for (let i = 0; i < 70; i += 1) {
      await reader.pushRules.put(bob, {
        kind: "content",
        ruleId: `${i}`,
        body: { pattern, actions: [] },
      });
    }
    const [large] = await changed(house.stream.position - 1);
    assert.equal((at(large, "content", "global", "content") as unknown[]).length, 70);
    const last = house.stream.after(house.stream.position - 1)?.[0];
    assert.deepEqual(last?.data, { type: "m.push_rules" });
  });

  test("keep what two clients change at once", async () => {
    await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        ask("PUT", `/pushrules/global/underride/u${i}`, { actions: [] }),
      ),
    );
    const own = (await idsOf("underride")).filter((id) => /^u\d$/.test(String(id)));
    assert.equal(own.length, 10);
  });

  test("V146: beyond a bound are refused, and can still be removed", async () => {
    const carol = "@carol:gomin.test";
    const override = Array.from({ length: 5000 }, (_, i) => ({
      rule_id: `r${i}`,
      default: false,
      enabled: true,
      conditions: [],
      actions: [],
    }));
    const rules = { ...NO_USER_RULES, rules: { ...NO_USER_RULES.rules, override } };
    await house.database.pool.query("insert into push_rules values ($1, $2, 0)", [
      carol,
      JSON.stringify(rules),
    ]);
    const path = "/pushrules/global/override/one-more";
    const refused = await ask("PUT", path, { actions: [] }, carol);
    assert.deepEqual([refused.status, refused.body["errcode"]], [413, "M_TOO_LARGE"]);
    const large = { actions: [], conditions: [{ kind: "x", key: "x".repeat(1024 * 1024) }] };
    assert.equal((await ask("PUT", path, large, carol)).status, 413);
    assert.equal(
      (await ask("DELETE", "/pushrules/global/override/r7", undefined, carol)).status,
      200,
    );
    assert.equal((await ask("PUT", path, { actions: [] }, carol)).status, 200);
  });
});

test("GET /notifications gives pages that go on where the last one ended", async () => {
  const roomId = await house.rooms.create({ creator: alice, preset: "public_chat" });
  await house.rooms.membership.join({ roomId, sender: bob });
  await ask("DELETE", "/pushrules/global/override/a", undefined, bob);
  const sent = [];
  for (const body of ["one", "two", "three"]) sent.push(await house.send(roomId, alice, body));
  await reader.counts(bob, roomId);
  const first = await ask("GET", "/notifications?limit=2", undefined, bob);
  const token = at(first.body, "next_token") as string;
  const second = await ask("GET", `/notifications?limit=2&from=${token}`, undefined, bob);
  const shown = [first, second].flatMap(({ body }) =>
    (at(body, "notifications") as unknown[]).map((each) => at(each, "event", "event_id")),
  );
  assert.deepEqual(shown, sent.toReversed());
  assert.equal(at(second.body, "next_token"), undefined);
  assert.equal(at(first.body, "notifications", 0, "room_id"), roomId);
  assert.equal(at(first.body, "notifications", 0, "read"), false);
  const highlights = await ask("GET", "/notifications?only=highlight", undefined, bob);
  assert.deepEqual(highlights.body, { notifications: [] });
});
