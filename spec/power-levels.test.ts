import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { ALICE, BOB, CREATOR, createEvent, rulesOf, VERSIONS } from "./auth-fixtures.ts";
import { creatorsOf, readLevel, readPowerLevels } from "./power-levels.ts";
import type { JsonObject } from "./shape.ts";
import { JsonNumber } from "./strict-json.ts";

function levelsOf(version: number, content: JsonObject | undefined, create: JsonObject = {}) {
  return readPowerLevels(content, createEvent(version, create).pdu, rulesOf(version));
}

describe("one power level", () => {
  // value, in versions 1-5, 6-9, and from 10 on
  const table: [unknown, number | undefined, number | undefined, number | undefined][] = [
    [50, 50, 50, 50],
    [-50, -50, -50, -50],
    [2 ** 53 - 1, 2 ** 53 - 1, 2 ** 53 - 1, 2 ** 53 - 1],
    [2 ** 53, 2 ** 53, undefined, undefined],
    [50.57, 50, undefined, undefined],
    [-50.57, -50, undefined, undefined],
    [5.114698e4, 51146, undefined, undefined],
    [new JsonNumber("50.0"), 50, undefined, undefined],
    [new JsonNumber("5e1"), 50, undefined, undefined],
    [new JsonNumber("9007199254740993"), 2 ** 53, undefined, undefined],
    [new JsonNumber("1e999"), undefined, undefined, undefined],
    [Infinity, undefined, undefined, undefined],
    [-Infinity, undefined, undefined, undefined],
    [NaN, undefined, undefined, undefined],
    ["100", 100, 100, undefined],
    ["000100", 100, 100, undefined],
    ["+100", 100, 100, undefined],
    ["-100", -100, -100, undefined],
    [" 00100 ", 100, 100, undefined],
    ["\t-100\n", -100, -100, undefined],
    ["9007199254740992", 2 ** 53, undefined, undefined],
    ["9".repeat(400), undefined, undefined, undefined],
    ["50.5", undefined, undefined, undefined],
    ["5e1", undefined, undefined, undefined],
    ["0x10", undefined, undefined, undefined],
    ["1 0", undefined, undefined, undefined],
    ["+ 10", undefined, undefined, undefined],
    ["", undefined, undefined, undefined],
    [" ", undefined, undefined, undefined],
    ["Infinity", undefined, undefined, undefined],
    [null, undefined, undefined, undefined],
    [true, undefined, undefined, undefined],
    [[50], undefined, undefined, undefined],
    [{ valueOf: 50 }, undefined, undefined, undefined],
    [undefined, undefined, undefined, undefined],
  ];
  for (const [value, early, middle, late] of table) {
    const name = typeof value === "string" ? JSON.stringify(value).slice(0, 30) : String(value);
    it(`V016: ${name} reads as ${early}, ${middle}, ${late}`, () => {
      for (const version of VERSIONS) {
        const expected = version <= 5 ? early : version <= 9 ? middle : late;
        assert.equal(readLevel(value, rulesOf(version)), expected, `version ${version}`);
      }
    });
  }
});

describe("power levels", () => {
  it("has the defaults of a room without m.room.power_levels", () => {
    for (const version of VERSIONS) {
      const levels = levelsOf(version, undefined);
      const { ban, invite, kick, redact } = levels;
      assert.deepEqual({ ban, invite, kick, redact }, { ban: 50, invite: 0, kick: 50, redact: 50 });
      assert.equal(levels.levelFor("m.room.message", false), 0);
      assert.equal(levels.levelFor("m.room.topic", true), 50);
      assert.equal(levels.notificationLevel("room"), 50);
      assert.equal(levels.powerOf(BOB), 0);
      assert.equal(levels.powerOf(CREATOR), version >= 12 ? Infinity : 100);
    }
  });

  it("has the same defaults where the content is empty, but no power for the creator", () => {
    for (const version of VERSIONS) {
      const levels = levelsOf(version, {});
      assert.equal(levels.levelFor("m.room.message", false), 0);
      assert.equal(levels.levelFor("m.room.topic", true), 50);
      assert.equal(levels.powerOf(CREATOR), version >= 12 ? Infinity : 0);
    }
  });

  it("reads every property", () => {
    const levels = levelsOf(11, {
      ban: 1,
      invite: 2,
      kick: 3,
      redact: 4,
      users_default: 5,
      events_default: 6,
      state_default: 7,
      users: { [ALICE]: 8 },
      events: { "m.room.topic": 9 },
      notifications: { room: 10 },
    });
    const { ban, invite, kick, redact } = levels;
    assert.deepEqual([ban, invite, kick, redact], [1, 2, 3, 4]);
    assert.equal(levels.powerOf(BOB), 5);
    assert.equal(levels.levelFor("x", false), 6);
    assert.equal(levels.levelFor("x", true), 7);
    assert.equal(levels.powerOf(ALICE), 8);
    assert.equal(levels.levelFor("m.room.topic", true), 9);
    assert.equal(levels.levelFor("m.room.topic", false), 9);
    assert.equal(levels.notificationLevel("room"), 10);
    assert.equal(levels.notificationLevel("other"), 50);
  });

  it("V016: takes null and what is of another type for absent", () => {
    for (const version of VERSIONS) {
      const odd = {
        users: { [ALICE]: null },
        notifications: { room: null },
        events: [],
        ban: null,
      };
      const levels = levelsOf(version, odd);
      assert.equal(levels.powerOf(ALICE), 0);
      assert.equal(levels.notificationLevel("room"), 50);
      assert.equal(levels.levelFor("0", false), 0);
      assert.equal(levels.ban, 50);
      assert.equal(levelsOf(version, { users: "x", events: null }).powerOf("0"), 0);
    }
  });

  it("reads only what an object itself holds", () => {
    const levels = levelsOf(12, { users: {}, events: {}, notifications: {} });
    for (const name of ["__proto__", "constructor", "toString"]) {
      assert.equal(levels.powerOf(name), 0);
      assert.equal(levels.levelFor(name, true), 50);
      assert.equal(levels.notificationLevel(name), 50);
    }
  });

  it("V058: gives the creators of version 12 infinite power whatever the content says", () => {
    const levels = levelsOf(
      12,
      { users: { [CREATOR]: 0, [ALICE]: 0 }, users_default: -1 },
      { additional_creators: [ALICE, 7, null] },
    );
    assert.equal(levels.powerOf(CREATOR), Infinity);
    assert.equal(levels.powerOf(ALICE), Infinity);
    assert.equal(levels.powerOf(BOB), -1);
  });

  it("finds the creators by version", () => {
    const content = { creator: BOB, additional_creators: [ALICE] };
    for (const version of VERSIONS) {
      const creators = creatorsOf(createEvent(version, content).pdu, rulesOf(version));
      const expected = version <= 10 ? [BOB] : version === 11 ? [CREATOR] : [CREATOR, ALICE];
      assert.deepEqual(creators, expected);
    }
    assert.deepEqual(creatorsOf(createEvent(6, { creator: {} }).pdu, rulesOf(6)), []);
    assert.deepEqual(creatorsOf(createEvent(12, { additional_creators: ALICE }).pdu, rulesOf(12)), [
      CREATOR,
    ]);
  });

  it("without a create event nobody is a creator", () => {
    assert.equal(readPowerLevels(undefined, undefined, rulesOf(12)).powerOf(CREATOR), 0);
  });

  it("gives a number for any content", () => {
    const content = fc.dictionary(
      fc.constantFrom("users", "events", "notifications", "ban", "users_default", "state_default"),
      fc.jsonValue(),
    );
    fc.assert(
      fc.property(content, fc.integer({ min: 1, max: 12 }), (any, version) => {
        const levels = levelsOf(version, any);
        const read = [
          levels.powerOf(ALICE),
          levels.levelFor("a", true),
          levels.notificationLevel("room"),
          levels.ban,
          levels.kick,
        ];
        assert.ok(read.every(Number.isInteger));
      }),
    );
  });
});
