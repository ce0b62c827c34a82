import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { PushRoom, PushUser } from "./push-conditions.ts";
import { compilePushRules, evaluatePushRules, notificationOf } from "./push-evaluation.ts";
import { PushEvent } from "./push-event.ts";
import {
  NO_USER_RULES,
  putRule,
  type RuleKind,
  setRuleActions,
  setRuleEnabled,
  type UserPushRules,
} from "./push-rules.ts";
import type { JsonObject } from "./shape.ts";

const ALICE: PushUser = { userId: "@alice:a.example", displayName: "Alice" };
const BOB = "@bob:b.example";
const ROOM_ID = "!room:a.example";

function room(memberCount = 5, power = 0, required = 50): PushRoom {
  return { memberCount, powerLevels: { powerOf: () => power, notificationLevel: () => required } };
}

function event(fields: JsonObject) {
  return new PushEvent({
    room_id: ROOM_ID,
    event_id: "$event",
    sender: BOB,
    content: {},
    ...fields,
  });
}

function message(content: JsonObject) {
  return event({ type: "m.room.message", content: { msgtype: "m.text", ...content } });
}

function actionsOf(
  on: PushEvent,
  { rules = NO_USER_RULES, in: inRoom = room(), user = ALICE } = {},
) {
  return evaluatePushRules(compilePushRules(rules), on, inRoom).actionsFor(user);
}

const SOUND = { set_tweak: "sound", value: "default" };
const HIGHLIGHT = { set_tweak: "highlight" };

describe("the predefined rules", () => {
  const mention = { "m.mentions": { user_ids: [ALICE.userId] } };
  const roomMention = { "m.mentions": { room: true } };
  const edit = { "m.relates_to": { rel_type: "m.replace" } };
  const table: [string, PushEvent, PushRoom, unknown][] = [
    ["a message", message({ body: "hi" }), room(), ["notify"]],
    ["a message between two", message({ body: "hi" }), room(2), ["notify", SOUND]],
    ["a message without a body", message({}), room(), ["notify"]],
    ["a notice", message({ msgtype: "m.notice" }), room(2), []],
    ["a notice that mentions the user", message({ msgtype: "m.notice", ...mention }), room(2), []],
    ["a mention", message({ body: "x", ...mention }), room(), ["notify", SOUND, HIGHLIGHT]],
    [
      "a mention of others",
      message({ "m.mentions": { user_ids: [BOB, "@alice"] } }),
      room(),
      ["notify"],
    ],
    [
      "mentions that are no array",
      message({ "m.mentions": { user_ids: ALICE.userId } }),
      room(),
      ["notify"],
    ],
    ["mentions that are null", message({ "m.mentions": null }), room(), ["notify"]],
    ["the user's ID in a body", message({ body: ALICE.userId }), room(), ["notify"]],
    ["the user's name in a body", message({ body: "Alice @room" }), room(), ["notify"]],
    ["a mention of the room", message(roomMention), room(5, 50), ["notify", HIGHLIGHT]],
    ["a mention of the room without the power", message(roomMention), room(5, 49), ["notify"]],
    [
      "a mention of the room by a creator",
      message(roomMention),
      room(5, Infinity),
      ["notify", HIGHLIGHT],
    ],
    [
      '"true" for a mention of the room',
      message({ "m.mentions": { room: "true" } }),
      room(5, 50),
      ["notify"],
    ],
    ["an edit", message(edit), room(2), []],
    [
      "an edit that mentions",
      message({ ...edit, ...mention }),
      room(2),
      ["notify", SOUND, HIGHLIGHT],
    ],
    [
      "a reply in a thread",
      message({ "m.relates_to": { rel_type: "m.thread" } }),
      room(),
      ["notify"],
    ],
    ["an encrypted event", event({ type: "m.room.encrypted" }), room(), ["notify"]],
    [
      "an encrypted event between two",
      event({ type: "m.room.encrypted" }),
      room(2),
      ["notify", SOUND],
    ],
    [
      "an encrypted event with mentions",
      event({ type: "m.room.encrypted", content: mention }),
      room(),
      ["notify", SOUND, HIGHLIGHT],
    ],
    [
      "a call",
      event({ type: "m.call.invite" }),
      room(),
      ["notify", { set_tweak: "sound", value: "ring" }],
    ],
    [
      "an invite for the user",
      event({ type: "m.room.member", state_key: ALICE.userId, content: { membership: "invite" } }),
      room(),
      ["notify", SOUND],
    ],
    [
      "an invite for another user",
      event({
        type: "m.room.member",
        state_key: "@ALICE:a.example",
        content: { membership: "invite" },
      }),
      room(),
      [],
    ],
    [
      "a join",
      event({ type: "m.room.member", state_key: BOB, content: { membership: "join" } }),
      room(),
      [],
    ],
    [
      "a kick of the user",
      event({ type: "m.room.member", state_key: ALICE.userId, content: { membership: "leave" } }),
      room(),
      [],
    ],
    [
      "a tombstone",
      event({ type: "m.room.tombstone", state_key: "" }),
      room(),
      ["notify", HIGHLIGHT],
    ],
    ["a tombstone that is no state", event({ type: "m.room.tombstone" }), room(), undefined],
    [
      "a tombstone with a state key",
      event({ type: "m.room.tombstone", state_key: "x" }),
      room(),
      undefined,
    ],
    ["a reaction", event({ type: "m.reaction" }), room(2), []],
    ["a server ACL", event({ type: "m.room.server_acl", state_key: "" }), room(), []],
    ["a topic", event({ type: "m.room.topic", state_key: "" }), room(2), undefined],
    ["an event of another type", event({ type: "org.example.x" }), room(2), undefined],
    [
      "the user's own message",
      event({ type: "m.room.message", sender: ALICE.userId }),
      room(2),
      undefined,
    ],
    [
      "a message of which the type has another case",
      event({ type: "M.ROOM.MESSAGE" }),
      room(),
      ["notify"],
    ],
  ];
  for (const [title, on, inRoom, actions] of table) {
    it(`for ${title} say ${JSON.stringify(actions)}`, () => {
      assert.deepEqual(actionsOf(on, { in: inRoom }), actions);
    });
  }

  it("ask for the level of a room notification", () => {
    const inRoom: PushRoom = {
      memberCount: 5,
      powerLevels: {
        powerOf: () => 20,
        notificationLevel: (key) => (key === "room" ? 20 : 100),
      },
    };
    assert.deepEqual(actionsOf(message(roomMention), { in: inRoom }), ["notify", HIGHLIGHT]);
  });

  it("say nothing once the master rule is enabled", () => {
    const rules = setRuleEnabled(NO_USER_RULES, "override", ".m.rule.master", true);
    assert.deepEqual(actionsOf(message(mention), { rules }), []);
  });

  it("are passed over where they are disabled, and say what the user made them say", () => {
    const rules = setRuleEnabled(NO_USER_RULES, "override", ".m.rule.is_user_mention", false);
    assert.deepEqual(actionsOf(message(mention), { rules }), ["notify"]);
    const quiet = setRuleActions(NO_USER_RULES, "underride", ".m.rule.message", []);
    assert.deepEqual(actionsOf(message({ body: "x" }), { rules: quiet }), []);
  });
});

function withRule(kind: RuleKind, ruleId: string, body: JsonObject, user = NO_USER_RULES) {
  return putRule(user, { kind, ruleId, body: { actions: [{ set_tweak: ruleId }], ...body } });
}

function saidBy(rules: UserPushRules, on: PushEvent, inRoom = room(), user = ALICE): unknown {
  const [action] = actionsOf(on, { rules, in: inRoom, user }) ?? [];
  return typeof action === "object" ? action["set_tweak"] : action;
}

describe("the order of rules", () => {
  const rules = (["override", "content", "room", "sender", "underride"] as const).map((kind) => {
    const ruleId = kind === "room" ? ROOM_ID : kind === "sender" ? BOB : kind;
    return { kind, ruleId };
  });

  it("is override, content, room, sender, underride, and then the server's", () => {
    for (let from = 0; from < rules.length; from++) {
      let user = NO_USER_RULES;
      for (const { kind, ruleId } of rules.slice(from)) {
        user = withRule(kind, ruleId, { pattern: "cake" }, user);
      }
      assert.equal(saidBy(user, message({ body: "cake" })), rules[from]?.ruleId);
    }
  });

  it("is that of the user within a kind", () => {
    const tea = withRule("content", "tea", { pattern: "tea" });
    const both = withRule("content", "time", { pattern: "time" }, tea);
    const on = message({ body: "It's time for tea" });
    assert.equal(saidBy(both, on), "time");
    assert.equal(saidBy(setRuleEnabled(both, "content", "time", false), on), "tea");
  });

  it("is the same for rules of other rooms and other senders, which do not match", () => {
    const other = withRule(
      "sender",
      "@carol:c.example",
      {},
      withRule("room", "!other:a.example", {}),
    );
    assert.equal(saidBy(other, message({ body: "x" })), "notify");
  });
});

describe("a condition", () => {
  const table: [string, JsonObject, PushEvent, boolean][] = [];
  const add = (title: string, condition: JsonObject, content: JsonObject, matches: boolean) =>
    table.push([title, condition, message(content), matches]);

  const topic = { kind: "event_match", key: "content.topic", pattern: "lunc?*" };
  add("event_match ignores case", topic, { topic: "Lunch plans" }, true);
  add("event_match, with nothing for a star", topic, { topic: "LUNCH" }, true);
  add("event_match matches the whole", topic, { topic: " lunch" }, false);
  add("event_match wants a character for ?", topic, { topic: "lunc" }, false);
  add("event_match wants a string", topic, { topic: null }, false);
  add("event_match wants the property", { ...topic, pattern: "*" }, {}, false);
  add("event_match wants a string even for *", { ...topic, pattern: "*" }, { topic: 7 }, false);
  const body = { kind: "event_match", key: "content.body", pattern: "ex*ple" };
  add("event_match finds words in a body", body, { body: "An example event." }, true);
  add("event_match spans words in a body", body, { body: "An exciting triple-whammy" }, true);
  add("event_match finds no parts of words", body, { body: "inexample" }, false);
  add(
    "event_match escapes dots",
    { ...topic, key: "content.a\\.b", pattern: "x" },
    { "a.b": "x" },
    true,
  );
  const is = (value: unknown) => ({ kind: "event_property_is", key: "content.v", value });
  const values = ["1", 1, true, false, null, "", 0, "true"];
  for (const wanted of values) {
    for (const value of values) {
      const title = `event_property_is ${JSON.stringify(wanted)} of ${JSON.stringify(value)}`;
      add(title, is(wanted), { v: value }, wanted === value);
      const contains = { ...is(wanted), kind: "event_property_contains" };
      add(
        `event_property_contains ${JSON.stringify(wanted)} in ${JSON.stringify(value)}`,
        contains,
        { v: [{}, value] },
        wanted === value,
      );
    }
  }
  add("event_property_is wants the property", is(null), {}, false);
  add("event_property_is takes no object", is("x"), { v: { x: 1 } }, false);
  add(
    "event_property_contains wants an array",
    { ...is("x"), kind: "event_property_contains" },
    { v: "x" },
    false,
  );
  add(
    "event_property_contains matches exactly",
    { ...is(":e"), kind: "event_property_contains" },
    { v: ["a:e"] },
    false,
  );
  const name = { kind: "contains_display_name" };
  add("contains_display_name", name, { body: "hello ALICE!" }, true);
  add("contains_display_name within a word", name, { body: "malice" }, false);
  add("contains_display_name without a body", name, {}, false);
  const count = (text: string) => ({ kind: "room_member_count", is: text });
  for (const [text, matches] of [
    ["5", true],
    ["==5", true],
    ["4", false],
    ["<6", true],
    ["<5", false],
    [">4", true],
    [">5", false],
    ["<=5", true],
    ["<=4", false],
    [">=5", true],
    [">=6", false],
    ["", false],
    ["=5", false],
    ["5.0", false],
    [" 5", false],
    ["five", false],
    ["<", false],
  ] as const) {
    add(`room_member_count ${JSON.stringify(text)} of 5`, count(text), {}, matches);
  }
  add("of a kind that is not known", { kind: "org.example.moon" }, {}, false);
  add("of a kind that objects inherit", { kind: "constructor" }, {}, false);

  for (const [title, condition, on, matches] of table) {
    it(`${title} ${matches ? "matches" : "does not match"}`, () => {
      const rules = withRule("override", "mine", { conditions: [condition] });
      assert.equal(saidBy(rules, on) === "mine", matches);
    });
  }

  it("sender_notification_permission asks for the level of its key", () => {
    const rules = withRule("override", "mine", {
      conditions: [{ kind: "sender_notification_permission", key: "org.example.all" }],
    });
    const inRoom: PushRoom = {
      memberCount: 5,
      powerLevels: {
        powerOf: (userId) => (userId === BOB ? 20 : 0),
        notificationLevel: (key) => (key === "org.example.all" ? 20 : 50),
      },
    };
    assert.equal(saidBy(rules, message({}), inRoom), "mine");
  });

  it("takes a display name literally, and none for no match", () => {
    const rules = withRule("override", "mine", { conditions: [{ kind: "contains_display_name" }] });
    const on = message({ body: "hello everyone" });
    for (const displayName of ["*", "hell?", "", undefined]) {
      assert.equal(saidBy(rules, on, room(), { ...ALICE, displayName }), "notify");
    }
    const literal = message({ body: "hello *" });
    assert.equal(saidBy(rules, literal, room(), { ...ALICE, displayName: "*" }), "mine");
  });

  it("has to hold with all others, and none at all always holds", () => {
    const both = withRule("override", "mine", {
      conditions: [
        { kind: "room_member_count", is: ">1" },
        { kind: "room_member_count", is: "<5" },
      ],
    });
    assert.equal(saidBy(both, message({}), room(4)), "mine");
    assert.equal(saidBy(both, message({}), room(5)), "notify");
    assert.equal(saidBy(withRule("override", "mine", {}), event({ type: "x" })), "mine");
  });
});

describe("evaluation once per rule set", () => {
  const rules = compilePushRules(NO_USER_RULES);
  const carol: PushUser = { userId: "@carol:c.example", displayName: "Carol" };

  it("tells users apart only where the event does", () => {
    const plain = evaluatePushRules(rules, message({ body: "hi" }), room());
    assert.equal(plain.isSameForAll, true);
    const mention = message({ "m.mentions": { user_ids: [ALICE.userId] } });
    const outcome = evaluatePushRules(rules, mention, room());
    assert.equal(outcome.isSameForAll, false);
    assert.deepEqual(outcome.actionsFor(ALICE), ["notify", SOUND, HIGHLIGHT]);
    assert.deepEqual(outcome.actionsFor(carol), ["notify"]);
    assert.equal(outcome.actionsFor({ userId: BOB, displayName: "Bob" }), undefined);
  });

  it("says for each user what evaluation for that user alone says", () => {
    const ids = [ALICE.userId, carol.userId, BOB];
    const content = fc.record(
      {
        body: fc.constantFrom("hi", "Alice and Carol", "cake"),
        msgtype: fc.constantFrom("m.text", "m.notice"),
        membership: fc.constantFrom("invite", "join"),
        "m.mentions": fc.record(
          { user_ids: fc.subarray(ids), room: fc.boolean() },
          { requiredKeys: [] },
        ),
      },
      { requiredKeys: [] },
    );
    const any = fc.record({
      type: fc.constantFrom("m.room.message", "m.room.member", "m.reaction"),
      state_key: fc.constantFrom("", ...ids),
      content,
    });
    const mine = withRule("underride", "mine", { conditions: [{ kind: "contains_display_name" }] });
    const compiled = compilePushRules(mine);
    fc.assert(
      fc.property(any, fc.nat(3), (fields, memberCount) => {
        const shared = evaluatePushRules(compiled, event(fields), room(memberCount));
        const [alices, carols] = [ALICE, carol].map((user) => shared.actionsFor(user));
        assert.deepEqual(alices, actionsOf(event(fields), { rules: mine, in: room(memberCount) }));
        if (shared.isSameForAll) assert.deepEqual(alices, carols);
      }),
    );
  });

  it("V145: takes no long time over a long body and hostile patterns", () => {
    let user = NO_USER_RULES;
    for (let i = 0; i < 20; i++) {
      user = withRule("content", `r${i}`, { pattern: `${"*a".repeat(30)}${i}` }, user);
    }
    const on = message({ body: "a".repeat(60 * 1024) });
    const start = performance.now();
    assert.equal(saidBy(user, on), "notify");
    assert.ok(performance.now() - start < 500);
  });
});

describe("what actions amount to", () => {
  const table: [unknown, unknown][] = [
    [undefined, { notify: false, highlight: false, tweaks: {} }],
    [[], { notify: false, highlight: false, tweaks: {} }],
    [["notify"], { notify: true, highlight: false, tweaks: {} }],
    [["dont_notify"], { notify: false, highlight: false, tweaks: {} }],
    [["notify", HIGHLIGHT], { notify: true, highlight: true, tweaks: { highlight: true } }],
    [
      ["notify", { ...HIGHLIGHT, value: false }],
      { notify: true, highlight: false, tweaks: { highlight: false } },
    ],
    [
      ["notify", SOUND, { set_tweak: "flash" }, { set_tweak: "sound", value: "ring" }],
      { notify: true, highlight: false, tweaks: { sound: "ring" } },
    ],
    [[{ set_tweak: 7, value: 7 }, { other: 1 }], { notify: false, highlight: false, tweaks: {} }],
  ];
  for (const [actions, notification] of table) {
    it(`${JSON.stringify(actions)} is ${JSON.stringify(notification)}`, () => {
      assert.deepEqual(notificationOf(actions as never), notification);
    });
  }
});
