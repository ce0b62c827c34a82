import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { ErrorCode } from "./errors.ts";
import {
  getRule,
  type NewRule,
  NO_USER_RULES,
  putRule,
  readKind,
  removeRule,
  RULE_KINDS,
  type RuleKind,
  rulesetOf,
  setRuleActions,
  setRuleEnabled,
  type UserPushRules,
} from "./push-rules.ts";

const ALICE = "@alice:a.example";
const ROOM = "!room:a.example";

function put(user: UserPushRules, ruleId: string, more: Partial<NewRule> = {}): UserPushRules {
  const body = { actions: ["notify"], pattern: ruleId };
  return putRule(user, { kind: "content", ruleId, body, ...more });
}

function idsOf(user: UserPushRules, kind: RuleKind): string[] {
  return rulesetOf(user, ALICE)[kind].map((rule) => rule.rule_id);
}

function throwsCode(run: () => unknown, errcode: ErrorCode, status?: number): void {
  assert.throws(run, (error: { errcode?: string; status?: number }) => {
    assert.equal(error.errcode, errcode);
    if (status !== undefined) assert.equal(error.status, status);
    return true;
  });
}

describe("the rules of a user who changed none", () => {
  const ruleset = rulesetOf(NO_USER_RULES, ALICE);

  it("are the predefined ones, in their order", () => {
    assert.deepEqual(idsOf(NO_USER_RULES, "override"), [
      ".m.rule.master",
      ".m.rule.suppress_notices",
      ".m.rule.invite_for_me",
      ".m.rule.member_event",
      ".m.rule.is_user_mention",
      ".m.rule.is_room_mention",
      ".m.rule.tombstone",
      ".m.rule.reaction",
      ".m.rule.room.server_acl",
      ".m.rule.suppress_edits",
    ]);
    assert.deepEqual(idsOf(NO_USER_RULES, "underride"), [
      ".m.rule.call",
      ".m.rule.encrypted_room_one_to_one",
      ".m.rule.room_one_to_one",
      ".m.rule.message",
      ".m.rule.encrypted",
    ]);
    for (const kind of ["content", "room", "sender"] as const) assert.deepEqual(ruleset[kind], []);
  });

  it("are enabled but for the master rule, and marked as default", () => {
    const rules = [...ruleset.override, ...ruleset.underride];
    assert.ok(rules.every((rule) => rule.default));
    const disabled = rules.filter((rule) => !rule.enabled).map((rule) => rule.rule_id);
    assert.deepEqual(disabled, [".m.rule.master"]);
  });

  it("name the user", () => {
    assert.deepEqual(getRule(ruleset, "override", ".m.rule.is_user_mention"), {
      rule_id: ".m.rule.is_user_mention",
      default: true,
      enabled: true,
      conditions: [
        {
          kind: "event_property_contains",
          key: "content.m\\.mentions.user_ids",
          value: ALICE,
        },
      ],
      actions: ["notify", { set_tweak: "sound", value: "default" }, { set_tweak: "highlight" }],
    });
    const invite = getRule(ruleset, "override", ".m.rule.invite_for_me");
    assert.deepEqual(invite.conditions?.[2], {
      kind: "event_match",
      key: "state_key",
      pattern: ALICE,
    });
  });
});

describe("adding a rule", () => {
  it("puts it before those that the user has, and enables it", () => {
    const user = put(put(NO_USER_RULES, "a"), "b");
    assert.deepEqual(idsOf(user, "content"), ["b", "a"]);
    assert.deepEqual(getRule(rulesetOf(user, ALICE), "content", "b"), {
      rule_id: "b",
      default: false,
      enabled: true,
      pattern: "b",
      actions: ["notify"],
    });
    assert.deepEqual(NO_USER_RULES.rules.content, []);
  });

  it("puts an override rule between the master rule and the others of the server", () => {
    const user = put(NO_USER_RULES, "a", { kind: "override" });
    assert.deepEqual(idsOf(user, "override").slice(0, 3), [
      ".m.rule.master",
      "a",
      ".m.rule.suppress_notices",
    ]);
    const under = put(NO_USER_RULES, "a", { kind: "underride" });
    assert.deepEqual(idsOf(under, "underride").slice(0, 2), ["a", ".m.rule.call"]);
  });

  const abc = put(put(put(NO_USER_RULES, "c"), "b"), "a");
  const table: [string, string, Pick<NewRule, "before" | "after">, string[]][] = [
    ["a new rule before another", "x", { before: "b" }, ["a", "x", "b", "c"]],
    ["a new rule after another", "x", { after: "b" }, ["a", "b", "x", "c"]],
    [
      "a new rule before one and after another",
      "x",
      { before: "c", after: "a" },
      ["a", "b", "x", "c"],
    ],
    ["a known rule forward", "c", { before: "a" }, ["c", "a", "b"]],
    ["a known rule backward", "a", { after: "c" }, ["b", "c", "a"]],
    ["a known rule nowhere", "b", {}, ["a", "b", "c"]],
  ];
  for (const [title, ruleId, place, order] of table) {
    it(`moves ${title}`, () => {
      assert.deepEqual(idsOf(put(abc, ruleId, place), "content"), order);
    });
  }

  it("changes a known rule and leaves it disabled", () => {
    const disabled = setRuleEnabled(abc, "content", "b", false);
    const changed = put(disabled, "b", { body: { actions: [], pattern: "new" } });
    assert.deepEqual(getRule(rulesetOf(changed, ALICE), "content", "b"), {
      rule_id: "b",
      default: false,
      enabled: false,
      pattern: "new",
      actions: [],
    });
  });

  it("refuses a place relative to no rule of the user", () => {
    for (const place of ["x", ".m.rule.call", "a", ""]) {
      throwsCode(() => put(abc, "a", { before: place }), "M_UNKNOWN", 400);
      throwsCode(() => put(abc, "a", { after: place }), "M_UNKNOWN", 400);
    }
    throwsCode(() => put(abc, "x", { before: "a", after: "nothing" }), "M_UNKNOWN", 400);
  });

  it("refuses IDs that are reserved or not allowed", () => {
    for (const ruleId of [
      "",
      ".",
      ".m.rule.call",
      ".mine",
      "a/b",
      "a\\b",
      "a\0",
      "é".repeat(128),
    ]) {
      throwsCode(() => put(NO_USER_RULES, ruleId), "M_INVALID_PARAM");
    }
    assert.equal(idsOf(put(NO_USER_RULES, `${"é".repeat(127)}x`), "content").length, 1);
    assert.equal(idsOf(put(NO_USER_RULES, "a.b"), "content").length, 1);
  });

  it("wants a room ID for a room rule and a user ID for a sender rule", () => {
    for (const kind of ["room", "sender"] as const) {
      throwsCode(() => put(NO_USER_RULES, "cake", { kind }), "M_INVALID_PARAM");
    }
    assert.deepEqual(idsOf(put(NO_USER_RULES, ROOM, { kind: "room" }), "room"), [ROOM]);
    assert.deepEqual(idsOf(put(NO_USER_RULES, "!hash", { kind: "room" }), "room"), ["!hash"]);
    assert.deepEqual(idsOf(put(NO_USER_RULES, ALICE, { kind: "sender" }), "sender"), [ALICE]);
  });
});

describe("the body of a rule", () => {
  const bodies: [RuleKind, unknown, ErrorCode][] = [
    ["override", 7, "M_BAD_JSON"],
    ["override", [], "M_BAD_JSON"],
    ["override", {}, "M_MISSING_PARAM"],
    ["override", { actions: "notify" }, "M_BAD_JSON"],
    ["override", { actions: null }, "M_BAD_JSON"],
    ["override", { actions: [7] }, "M_BAD_JSON"],
    ["override", { actions: ["shout"] }, "M_INVALID_PARAM"],
    ["override", { actions: [{}] }, "M_MISSING_PARAM"],
    ["override", { actions: [{ set_tweak: 7 }] }, "M_BAD_JSON"],
    ["override", { actions: Array(21).fill("notify") }, "M_INVALID_PARAM"],
    ["override", { actions: [], conditions: {} }, "M_BAD_JSON"],
    ["override", { actions: [], conditions: [7] }, "M_BAD_JSON"],
    ["override", { actions: [], conditions: [{}] }, "M_MISSING_PARAM"],
    ["override", { actions: [], conditions: [{ kind: 7 }] }, "M_BAD_JSON"],
    [
      "override",
      { actions: [], conditions: [{ kind: "event_match", key: "a" }] },
      "M_MISSING_PARAM",
    ],
    [
      "override",
      { actions: [], conditions: [{ kind: "event_match", key: 7, pattern: "" }] },
      "M_BAD_JSON",
    ],
    [
      "override",
      { actions: [], conditions: [{ kind: "event_property_is", key: "a" }] },
      "M_MISSING_PARAM",
    ],
    [
      "override",
      { actions: [], conditions: [{ kind: "event_property_is", key: "a", value: [] }] },
      "M_BAD_JSON",
    ],
    [
      "override",
      { actions: [], conditions: [{ kind: "event_property_contains", key: "a", value: 0.5 }] },
      "M_BAD_JSON",
    ],
    ["override", { actions: [], conditions: [{ kind: "room_member_count", is: 2 }] }, "M_BAD_JSON"],
    [
      "underride",
      { actions: [], conditions: [{ kind: "sender_notification_permission" }] },
      "M_MISSING_PARAM",
    ],
    ["content", { actions: [] }, "M_MISSING_PARAM"],
    ["content", { actions: [], pattern: null }, "M_BAD_JSON"],
    ["content", { actions: [], pattern: "x".repeat(1025) }, "M_INVALID_PARAM"],
    ["room", { pattern: "x" }, "M_MISSING_PARAM"],
  ];
  for (const [kind, body, errcode] of bodies) {
    it(`of kind ${kind}: ${JSON.stringify(body).slice(0, 90)} is ${errcode}`, () => {
      const ruleId = kind === "room" ? ROOM : "id";
      throwsCode(() => putRule(NO_USER_RULES, { kind, ruleId, body }), errcode);
    });
  }

  it("keeps conditions of kinds that are not known, and what a tweak says", () => {
    const body = {
      actions: ["notify", { set_tweak: "flash", value: [1], more: true }],
      conditions: [
        { kind: "org.example.new", size: 7 },
        { kind: "event_property_is", key: "a", value: null },
        { kind: "event_property_is", key: "a", value: "x" },
        { kind: "event_property_is", key: "a", value: true },
        { kind: "event_property_contains", key: "a", value: -1 },
        { kind: "contains_display_name" },
      ],
      unknown: true,
    };
    const user = putRule(NO_USER_RULES, { kind: "override", ruleId: "a", body });
    const rule = getRule(rulesetOf(user, ALICE), "override", "a");
    assert.deepEqual(rule, {
      rule_id: "a",
      default: false,
      enabled: true,
      conditions: body.conditions,
      actions: body.actions,
    });
  });

  it("loses the actions of older versions", () => {
    const body = { actions: ["dont_notify", "notify", "coalesce"] };
    const user = putRule(NO_USER_RULES, { kind: "room", ruleId: ROOM, body });
    assert.deepEqual(getRule(rulesetOf(user, ALICE), "room", ROOM).actions, ["notify"]);
    const changed = setRuleActions(user, "room", ROOM, ["dont_notify"]);
    assert.deepEqual(getRule(rulesetOf(changed, ALICE), "room", ROOM).actions, []);
  });
});

describe("changing and removing rules", () => {
  const user = put(NO_USER_RULES, "a");

  it("disables and enables rules of the user and of the server", () => {
    const off = setRuleEnabled(user, "content", "a", false);
    assert.equal(getRule(rulesetOf(off, ALICE), "content", "a").enabled, false);
    const master = setRuleEnabled(off, "override", ".m.rule.master", true);
    assert.equal(getRule(rulesetOf(master, ALICE), "override", ".m.rule.master").enabled, true);
    assert.equal(getRule(rulesetOf(master, ALICE), "content", "a").enabled, false);
  });

  it("sets the actions of rules of the user and of the server, with what was set before", () => {
    const off = setRuleEnabled(user, "underride", ".m.rule.message", false);
    const quiet = setRuleActions(off, "underride", ".m.rule.message", []);
    const rule = getRule(rulesetOf(quiet, ALICE), "underride", ".m.rule.message");
    assert.deepEqual([rule.enabled, rule.actions, rule.default], [false, [], true]);
    const mine = setRuleActions(user, "content", "a", [{ set_tweak: "sound", value: "x" }]);
    assert.deepEqual(getRule(rulesetOf(mine, ALICE), "content", "a").actions, [
      { set_tweak: "sound", value: "x" },
    ]);
    throwsCode(() => setRuleActions(user, "content", "a", "notify"), "M_BAD_JSON");
    throwsCode(() => setRuleActions(user, "content", "a", ["shout"]), "M_INVALID_PARAM");
  });

  it("removes rules of the user only", () => {
    assert.deepEqual(idsOf(removeRule(user, "content", "a"), "content"), []);
    throwsCode(() => removeRule(user, "override", ".m.rule.master"), "M_NOT_FOUND");
  });

  it("does not find what is not there", () => {
    for (const ruleId of ["b", ".m.rule.nothing", "__proto__", "constructor"]) {
      for (const kind of RULE_KINDS) {
        throwsCode(() => getRule(rulesetOf(user, ALICE), kind, ruleId), "M_NOT_FOUND");
        throwsCode(() => removeRule(user, kind, ruleId), "M_NOT_FOUND");
        throwsCode(() => setRuleEnabled(user, kind, ruleId, true), "M_NOT_FOUND");
        throwsCode(() => setRuleActions(user, kind, ruleId, []), "M_NOT_FOUND");
      }
    }
    throwsCode(() => setRuleEnabled(user, "underride", ".m.rule.master", true), "M_NOT_FOUND");
  });

  it("names the kinds", () => {
    for (const kind of RULE_KINDS) assert.equal(readKind(kind), kind);
    for (const kind of ["", "device", "Override", "constructor"]) {
      throwsCode(() => readKind(kind), "M_INVALID_PARAM");
    }
  });

  it("passes over what a user set of a rule that the server no longer has", () => {
    const old = { ...user, defaults: { ".m.rule.contains_user_name": { enabled: false } } };
    assert.deepEqual(idsOf(old, "content"), ["a"]);
    assert.deepEqual(rulesetOf(old, ALICE), rulesetOf(user, ALICE));
  });
});

describe("V146: the bounds of push rules", () => {
  const rule = { rule_id: "x", default: false, enabled: true, actions: [] };
  const rooms = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ ...rule, rule_id: `!${i}:a.example` }));
  const withRooms = (count: number): UserPushRules => ({
    ...NO_USER_RULES,
    rules: { ...NO_USER_RULES.rules, room: rooms(count) },
  });

  it("refuse the 5001st rule, and let rules be changed and removed", () => {
    const full = put(withRooms(4999), "a");
    throwsCode(() => put(full, "b"), "M_TOO_LARGE");
    assert.equal(
      idsOf(put(full, "a", { body: { actions: [], pattern: "c" } }), "content").length,
      1,
    );
    const over = withRooms(10_000);
    throwsCode(() => put(over, "b"), "M_TOO_LARGE");
    assert.equal(idsOf(removeRule(over, "room", "!7:a.example"), "room").length, 9999);
    const quiet = put(over, "!7:a.example", { kind: "room", body: { actions: [] } });
    assert.equal(idsOf(quiet, "room").length, 10_000);
  });

  it("refuse the 501st pattern over texts of any length", () => {
    const content = Array.from({ length: 500 }, (_, i) => ({
      ...rule,
      rule_id: `${i}`,
      pattern: "x",
    }));
    const full = { ...NO_USER_RULES, rules: { ...NO_USER_RULES.rules, content } };
    throwsCode(() => put(full, "b"), "M_TOO_LARGE");
    const override = (key: string) => ({
      kind: "override" as const,
      body: { actions: [], conditions: [{ kind: "event_match", key, pattern: "x" }] },
    });
    throwsCode(() => put(full, "b", override("content.body")), "M_TOO_LARGE");
    const name = {
      kind: "override" as const,
      body: { actions: [], conditions: [{ kind: "contains_display_name" }] },
    };
    throwsCode(() => put(full, "b", name), "M_TOO_LARGE");
    for (const key of ["type", "sender", "room_id", "state_key", "event_id"]) {
      assert.equal(put(full, "b", override(key)).rules.override.length, 1);
    }
    const other = {
      kind: "override" as const,
      body: { actions: [], conditions: [{ kind: "room_member_count", is: "2" }] },
    };
    assert.equal(put(full, "b", other).rules.override.length, 1);
  });

  it("refuse 768 KiB", () => {
    let user = NO_USER_RULES;
    const body = { actions: [{ set_tweak: "x", value: "y".repeat(60_000) }] };
    const add = (i: number) => putRule(user, { kind: "sender", ruleId: `@${i}:a.example`, body });
    for (let i = 0; i < 13; i++) user = add(i);
    throwsCode(() => add(13), "M_TOO_LARGE");
    throwsCode(
      () => setRuleActions(user, "sender", "@0:a.example", [...body.actions, ...body.actions]),
      "M_TOO_LARGE",
    );
  });
});

describe("any sequence of changes", () => {
  it("keeps the rule IDs of a kind distinct, and the server's rules where they are", () => {
    const id = fc.constantFrom("a", "b", "c", "d");
    const step = fc.record({
      id,
      before: fc.option(id),
      after: fc.option(id),
      removes: fc.boolean(),
    });
    const defaults = rulesetOf(NO_USER_RULES, ALICE).underride;
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        let user = NO_USER_RULES;
        for (const { id: ruleId, before, after, removes } of steps) {
          try {
            user = removes
              ? removeRule(user, "underride", ruleId)
              : put(user, ruleId, {
                  kind: "underride",
                  before: before ?? undefined,
                  after: after ?? undefined,
                });
          } catch (error) {
            assert.match(
              String((error as { errcode?: string }).errcode),
              /^M_(UNKNOWN|NOT_FOUND)$/,
            );
          }
        }
        const rules = rulesetOf(user, ALICE).underride;
        assert.equal(new Set(rules.map((rule) => rule.rule_id)).size, rules.length);
        assert.deepEqual(rules.slice(-defaults.length), defaults);
        assert.deepEqual(JSON.parse(JSON.stringify(user)), user);
      }),
    );
  });
});
