import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { authEventKeys, checkAuthEvents } from "./auth-events.ts";
import {
  ALICE,
  BOB,
  CREATOR,
  createEvent,
  eventOf,
  type Fields,
  joinRules,
  member,
  powerLevels,
  rulesOf,
  VERSIONS,
} from "./auth-fixtures.ts";

const LEVELS = "m.room.power_levels/";
const RULES = "m.room.join_rules/";

function keysOf(version: number, fields: Fields): string[] {
  const keys = authEventKeys(eventOf(version, fields).pdu, rulesOf(version));
  return keys.map(({ type, stateKey }) => `${type}/${stateKey}`).sort();
}

function expected(version: number, ...keys: string[]): string[] {
  return [...(version >= 12 ? [] : ["m.room.create/"]), LEVELS, ...keys].sort();
}

describe("auth events selection", () => {
  const signed = { mxid: BOB, token: "tok" };
  const table: [string, Fields, string[]][] = [
    ["a message", { type: "m.room.message" }, [`m.room.member/${CREATOR}`]],
    ["a join", member(ALICE, "join"), [RULES, `m.room.member/${ALICE}`]],
    [
      "an invite",
      { ...member(ALICE, "invite"), sender: CREATOR },
      [RULES, `m.room.member/${ALICE}`, `m.room.member/${CREATOR}`],
    ],
    ["a knock", member(ALICE, "knock"), [RULES, `m.room.member/${ALICE}`]],
    ["a leave", member(ALICE, "leave"), [`m.room.member/${ALICE}`]],
    [
      "a ban",
      { ...member(ALICE, "ban"), sender: CREATOR },
      [`m.room.member/${ALICE}`, `m.room.member/${CREATOR}`],
    ],
    [
      "a third-party invite",
      { ...member(BOB, "invite", { third_party_invite: { signed } }), sender: CREATOR },
      [RULES, "m.room.third_party_invite/tok", `m.room.member/${BOB}`, `m.room.member/${CREATOR}`],
    ],
    [
      "a third-party invite with a malformed token",
      member(BOB, "invite", { third_party_invite: { signed: { token: {} } } }),
      [RULES, `m.room.member/${BOB}`],
    ],
    [
      "a join with a third-party invite",
      member(BOB, "join", { third_party_invite: { signed } }),
      [RULES, `m.room.member/${BOB}`],
    ],
    [
      "a join authorised by no user ID",
      member(BOB, "join", { join_authorised_via_users_server: 7 }),
      [RULES, `m.room.member/${BOB}`],
    ],
    [
      "a leave with an authorising user",
      member(BOB, "leave", { join_authorised_via_users_server: ALICE }),
      [`m.room.member/${BOB}`],
    ],
    ["a member event without a state key", { type: "m.room.member" }, [`m.room.member/${CREATOR}`]],
  ];
  for (const [title, fields, keys] of table) {
    it(`of ${title}`, () => {
      for (const version of VERSIONS) {
        assert.deepEqual(keysOf(version, fields), expected(version, ...keys));
      }
    });
  }

  it("of a create event is empty", () => {
    for (const version of VERSIONS) {
      assert.deepEqual(authEventKeys(createEvent(version).pdu, rulesOf(version)), []);
    }
  });

  it("names the authorising user of a restricted join where the version has them", () => {
    const join = member(BOB, "join", { join_authorised_via_users_server: ALICE });
    for (const version of VERSIONS) {
      const authoriser = version >= 8 ? [`m.room.member/${ALICE}`] : [];
      const keys = expected(version, RULES, `m.room.member/${BOB}`, ...authoriser);
      assert.deepEqual(keysOf(version, join), keys);
    }
  });
});

describe("3. the auth_events of a received event", () => {
  const named = (version: number, fields: Fields, isRejected = false) => ({
    event: eventOf(version, fields),
    isRejected,
  });
  const good = (version: number) => [
    ...(version >= 12 ? [] : [{ event: createEvent(version), isRejected: false }]),
    named(version, member(CREATOR, "join")),
    named(version, powerLevels({})),
  ];
  const message: Fields = { type: "m.room.message" };
  const ruleOf = (version: number, authEvents: ReturnType<typeof good>, fields = message) => {
    const verdict = checkAuthEvents(eventOf(version, fields), authEvents, rulesOf(version));
    return verdict.allowed ? undefined : verdict.rule;
  };

  it("are accepted where they are the ones selected, or some of them", () => {
    for (const version of VERSIONS) {
      assert.equal(ruleOf(version, good(version)), undefined);
      assert.equal(ruleOf(version, good(version).slice(0, 2)), undefined);
    }
  });

  it("are rejected with two of one type and state key", () => {
    for (const version of VERSIONS) {
      const twice = [...good(version), named(version, powerLevels({ ban: 1 }))];
      assert.equal(ruleOf(version, twice), "3.1");
    }
  });

  it("are rejected with one that does not belong there", () => {
    for (const version of VERSIONS) {
      for (const other of [
        joinRules("public"),
        member(BOB, "join"),
        { type: "m.room.topic", state_key: "" },
        { type: "m.room.power_levels", state_key: "x" },
        { type: "m.room.power_levels" },
      ]) {
        assert.equal(ruleOf(version, [...good(version), named(version, other)]), "3.2");
      }
    }
  });

  it("V059: are rejected with the create event in version 12", () => {
    const create = named(12, { type: "m.room.create", state_key: "" });
    assert.equal(ruleOf(12, [...good(12), create]), "3.2");
  });

  it("are rejected without the create event before version 12", () => {
    for (const version of VERSIONS) {
      assert.equal(ruleOf(version, []), version >= 12 ? undefined : "v1:2.4");
    }
  });

  it("are rejected with one that was itself rejected", () => {
    for (const version of VERSIONS) {
      const rejected = good(version).map((entry) => ({ ...entry, isRejected: true }));
      assert.equal(ruleOf(version, rejected), "3.3");
    }
  });

  it("are rejected with one of another room", () => {
    for (const version of VERSIONS) {
      const elsewhere = named(version, { ...powerLevels({}), room_id: "!other:a.example" });
      const [last] = good(version).slice(-1);
      const others = good(version).filter((entry) => entry.event.pdu.type !== last?.event.pdu.type);
      assert.equal(ruleOf(version, [...others, elsewhere]), "3.5");
    }
  });

  it("of a create event are none", () => {
    for (const version of VERSIONS) {
      const create = createEvent(version);
      const rules = rulesOf(version);
      assert.equal(checkAuthEvents(create, [], rules).allowed, true);
      assert.equal(checkAuthEvents(create, good(version), rules).allowed, false);
    }
  });
});
