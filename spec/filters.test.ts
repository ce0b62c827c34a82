import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { ErrorCode } from "./errors.ts";
import {
  compileEventFields,
  compileEventFilter,
  compileRoomFilter,
  filter,
  type FilteredEvent,
  type RoomEventFilter,
} from "./filters.ts";
import { propertyAt } from "./property-path.ts";

const ALICE = "@alice:a.example";
const BOB = "@bob:b.example";

describe("the shape of a filter", () => {
  it("takes every field", () => {
    const events = {
      limit: 10,
      types: ["m.room.*"],
      not_types: ["*.secret"],
      senders: [ALICE],
      not_senders: [BOB],
    };
    const roomEvents = {
      ...events,
      rooms: ["!a:a.example"],
      not_rooms: ["!hash"],
      contains_url: true,
      lazy_load_members: true,
      include_redundant_members: false,
      unread_thread_notifications: true,
      related_by_senders: [ALICE],
      related_by_rel_types: ["m.thread"],
    };
    const whole = {
      event_fields: ["type", "content.body"],
      event_format: "federation",
      presence: events,
      account_data: events,
      room: {
        rooms: ["!a:a.example"],
        not_rooms: [],
        include_leave: true,
        state: roomEvents,
        timeline: roomEvents,
        ephemeral: roomEvents,
        account_data: roomEvents,
      },
    };
    assert.deepEqual(filter.read(whole, "body"), whole);
    assert.deepEqual(filter.read({}, "body"), {});
    const format = { event_format: "client" };
    assert.deepEqual(filter.read(format, "body"), format);
    assert.deepEqual(filter.read({ unknown: 1, room: { more: [] } }, "body"), { room: {} });
  });

  const wrong: [unknown, ErrorCode][] = [
    [7, "M_BAD_JSON"],
    [[], "M_BAD_JSON"],
    [{ event_fields: "type" }, "M_BAD_JSON"],
    [{ event_fields: [7] }, "M_BAD_JSON"],
    [{ event_fields: Array(201).fill("type") }, "M_INVALID_PARAM"],
    [{ event_fields: ["x".repeat(1025)] }, "M_INVALID_PARAM"],
    [{ event_format: 7 }, "M_BAD_JSON"],
    [{ event_format: "server" }, "M_INVALID_PARAM"],
    [{ presence: [] }, "M_BAD_JSON"],
    [{ presence: { limit: "5" } }, "M_BAD_JSON"],
    [{ presence: { limit: 1.5 } }, "M_BAD_JSON"],
    [{ presence: { limit: 0 } }, "M_INVALID_PARAM"],
    [{ presence: { limit: -1 } }, "M_INVALID_PARAM"],
    [{ account_data: { types: "m.*" } }, "M_BAD_JSON"],
    [{ account_data: { types: [null] } }, "M_BAD_JSON"],
    [{ account_data: { types: Array(501).fill("x") } }, "M_INVALID_PARAM"],
    [{ account_data: { not_types: ["x".repeat(256)] } }, "M_INVALID_PARAM"],
    [{ account_data: { senders: ["alice"] } }, "M_INVALID_PARAM"],
    [{ account_data: { not_senders: [7] } }, "M_BAD_JSON"],
    [{ room: [] }, "M_BAD_JSON"],
    [{ room: { rooms: ["#a:a.example"] } }, "M_INVALID_PARAM"],
    [{ room: { include_leave: "true" } }, "M_BAD_JSON"],
    [{ room: { timeline: { contains_url: 1 } } }, "M_BAD_JSON"],
    [{ room: { state: { lazy_load_members: null } } }, "M_BAD_JSON"],
    [{ room: { ephemeral: { not_rooms: ["x"] } } }, "M_INVALID_PARAM"],
    [{ room: { account_data: { unread_thread_notifications: 0 } } }, "M_BAD_JSON"],
  ];
  for (const [value, errcode] of wrong) {
    it(`answers ${errcode} to ${JSON.stringify(value).slice(0, 70)}`, () => {
      assert.throws(
        () => filter.read(value, "body"),
        (error: { errcode?: string }) => error.errcode === errcode,
      );
    });
  }
});

describe("an event filter", () => {
  const message: FilteredEvent = { type: "m.room.message", sender: ALICE, content: { body: "x" } };
  const image: FilteredEvent = { ...message, content: { url: "mxc://a.example/x" } };
  const typing: FilteredEvent = { type: "m.typing", content: {} };
  const table: [RoomEventFilter, FilteredEvent, boolean][] = [
    [{}, message, true],
    [{ types: ["m.room.message"] }, message, true],
    [{ types: ["m.room.member", "m.room.message"] }, message, true],
    [{ types: ["m.room.member"] }, message, false],
    [{ types: [] }, message, false],
    [{ types: ["*"] }, message, true],
    [{ types: ["m.room.*"] }, message, true],
    [{ types: ["*.message"] }, message, true],
    [{ types: ["m.*.message"] }, message, true],
    [{ types: ["m.room*.member"] }, message, false],
    [{ types: ["m?room?message"] }, message, false],
    [{ types: ["m.room"] }, message, false],
    [{ types: ["M.ROOM.MESSAGE"] }, message, false],
    [{ not_types: ["m.room.message"] }, message, false],
    [{ not_types: ["m.*"] }, message, false],
    [{ not_types: [] }, message, true],
    [{ types: ["m.room.message"], not_types: ["*.message"] }, message, false],
    [{ senders: [ALICE] }, message, true],
    [{ senders: [BOB] }, message, false],
    [{ senders: [] }, message, false],
    [{ not_senders: [ALICE] }, message, false],
    [{ not_senders: [BOB] }, message, true],
    [{ senders: [ALICE], not_senders: [ALICE] }, message, false],
    [{ senders: [ALICE] }, typing, false],
    [{ not_senders: [ALICE] }, typing, true],
    [{ contains_url: true }, message, false],
    [{ contains_url: true }, image, true],
    [{ contains_url: false }, message, true],
    [{ contains_url: false }, image, false],
    [{ contains_url: true }, { type: "m.room.message" }, false],
    [{ contains_url: false }, { type: "m.room.message", content: null }, true],
    [{ related_by_rel_types: ["m.thread"] }, message, false],
  ];
  for (const [of, event, matches] of table) {
    it(`${JSON.stringify(of)} ${matches ? "lets" : "does not let"} ${event.type} pass`, () => {
      assert.equal(compileEventFilter(of).matches(event), matches);
    });
  }

  it("that is absent lets everything pass", () => {
    assert.equal(compileEventFilter(undefined).matches(message), true);
    assert.equal(compileEventFilter().matchesRoom("!a:a.example"), true);
  });

  it("knows rooms by inclusion and exclusion, of which exclusion counts more", () => {
    const matches = compileRoomFilter({ rooms: ["!a:x", "!b:x"], not_rooms: ["!b:x"] });
    assert.deepEqual([matches("!a:x"), matches("!b:x"), matches("!c:x")], [true, false, false]);
    assert.equal(compileRoomFilter({ rooms: [] })("!a:x"), false);
    assert.equal(compileRoomFilter({ not_rooms: ["!a:x"] })("!b:x"), true);
    assert.equal(compileEventFilter({ not_rooms: ["!a:x"] }).matchesRoom("!a:x"), false);
  });

  it("asks for one relation of the wanted type by a wanted sender", () => {
    const both = compileEventFilter({
      related_by_rel_types: ["m.thread"],
      related_by_senders: [ALICE],
    });
    assert.equal(both.asksForRelations, true);
    assert.equal(compileEventFilter({}).asksForRelations, false);
    const thread = { relType: "m.thread", sender: ALICE };
    assert.equal(both.matches(message, [{ ...thread, sender: BOB }, thread]), true);
    const apart = [
      { ...thread, sender: BOB },
      { ...thread, relType: "m.replace" },
    ];
    assert.equal(both.matches(message, apart), false);
    const senders = compileEventFilter({ related_by_senders: [BOB] });
    assert.equal(senders.matches(message, apart), true);
  });

  it("V145: takes no long time with hostile types", () => {
    const hostile = `${"*a".repeat(100)}*b`;
    const matcher = compileEventFilter({ types: Array.from({ length: 500 }, () => hostile) });
    const start = performance.now();
    assert.equal(matcher.matches({ type: "a".repeat(255) }), false);
    assert.ok(performance.now() - start < 200);
  });
});

describe("event_fields", () => {
  const event = {
    type: "m.room.message",
    sender: ALICE,
    content: {
      body: "b",
      "m.relates_to": { rel_type: "m.thread", event_id: "$x" },
      list: [{ a: 1 }],
    },
  };
  const table: [string[], unknown][] = [
    [["type"], { type: "m.room.message" }],
    [["type", "sender"], { type: "m.room.message", sender: ALICE }],
    [["content"], { content: event.content }],
    [["content.body"], { content: { body: "b" } }],
    [["content", "content.body"], { content: event.content }],
    [["content.body", "content"], { content: event.content }],
    [
      ["content.m\\.relates_to.rel_type", "content.body"],
      { content: { "m.relates_to": { rel_type: "m.thread" }, body: "b" } },
    ],
    [["content.m.relates_to"], { content: {} }],
    [["content.nothing"], { content: {} }],
    [["content.body.length"], { content: {} }],
    [["content.list.0"], { content: {} }],
    [["nothing", "constructor", "__proto__", ""], {}],
  ];
  for (const [paths, kept] of table) {
    it(`${JSON.stringify(paths)} keeps ${JSON.stringify(kept)}`, () => {
      assert.deepEqual(compileEventFields(paths)?.(event), kept);
    });
  }

  it("that are absent or empty keep everything", () => {
    assert.equal(compileEventFields(undefined), undefined);
    assert.equal(compileEventFields([]), undefined);
  });

  it("do not touch the event, nor what objects inherit", () => {
    const before = structuredClone(event);
    const odd: object = JSON.parse('{"content":{"__proto__":{"a":1}},"type":"x"}');
    const kept = compileEventFields(["content.__proto__.a", "type"])?.(odd);
    assert.equal(JSON.stringify(kept), '{"content":{"__proto__":{"a":1}},"type":"x"}');
    assert.equal(Object.hasOwn(Object.prototype, "a"), false);
    compileEventFields(["content", "content.body"])?.(event);
    assert.deepEqual(event, before);
  });

  it("keep what is at a path as it is", () => {
    const names = fc.array(fc.constantFrom("a", "b", "c.d", "e\\"), { minLength: 1, maxLength: 4 });
    const value = fc.letrec((tie) => ({
      node: fc.oneof(
        { depthSize: "small" },
        fc.integer(),
        fc.dictionary(fc.constantFrom("a", "b", "c.d", "e\\"), tie("node")),
      ),
    })).node;
    fc.assert(
      fc.property(value, names, (any, path) => {
        const whole = { a: any, b: any };
        const escaped = path.map((name) => name.replaceAll(/[.\\]/g, "\\$&")).join(".");
        const kept = compileEventFields([escaped])?.(whole);
        assert.deepEqual(propertyAt(kept, path), propertyAt(whole, path));
      }),
    );
  });
});
