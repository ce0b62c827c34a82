import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { redact, redactContent } from "./redaction.ts";
import { type RoomVersion, roomVersions } from "./room-versions.ts";
import type { JsonObject } from "./shape.ts";

const ALL = Array.from({ length: 12 }, (_, i) => i + 1);

function get(version: number): RoomVersion {
  return roomVersions.get(String(version))!;
}

/** The members of the content that each version keeps, out of all that any version names. */
const CONTENT: { type: string; key: string; from?: number; to?: number }[] = [
  { type: "m.room.member", key: "membership" },
  { type: "m.room.member", key: "join_authorised_via_users_server", from: 9 },
  { type: "m.room.create", key: "creator" },
  { type: "m.room.create", key: "m.federate", from: 11 },
  { type: "m.room.create", key: "anything", from: 11 },
  { type: "m.room.join_rules", key: "join_rule" },
  { type: "m.room.join_rules", key: "allow", from: 8 },
  ...["ban", "events", "events_default", "kick", "redact", "state_default", "users"].map((key) => ({
    type: "m.room.power_levels",
    key,
  })),
  { type: "m.room.power_levels", key: "users_default" },
  { type: "m.room.power_levels", key: "invite", from: 11 },
  { type: "m.room.power_levels", key: "notifications", to: 0 },
  { type: "m.room.aliases", key: "aliases", to: 5 },
  { type: "m.room.history_visibility", key: "history_visibility" },
  { type: "m.room.redaction", key: "redacts", from: 11 },
  { type: "m.room.redaction", key: "reason", to: 0 },
  { type: "m.room.member", key: "displayname", to: 0 },
  { type: "m.room.name", key: "name", to: 0 },
  { type: "m.room.message", key: "body", to: 0 },
  { type: "toString", key: "length", to: 0 },
  { type: "__proto__", key: "constructor", to: 0 },
];

const KEYS: { key: string; to?: number }[] = [
  ...["event_id", "type", "room_id", "sender", "state_key", "hashes", "signatures", "depth"].map(
    (key) => ({ key }),
  ),
  ...["prev_events", "auth_events", "origin_server_ts"].map((key) => ({ key })),
  ...["origin", "membership", "prev_state"].map((key) => ({ key, to: 10 })),
  ...["redacts", "unsigned", "age", "anything", "__proto__"].map((key) => ({ key, to: 0 })),
];

describe("redact", () => {
  for (const { type, key, from = 1, to = 12 } of CONTENT) {
    const versions = to === 0 ? "in no version" : `in versions ${from} to ${to}`;
    it(`keeps ${key} of ${type} ${versions}`, () => {
      for (const version of ALL) {
        const redacted = redact({ type, content: { [key]: "x" } }, get(version));
        const isKept = version >= from && version <= to;
        assert.deepEqual(redacted["content"], isKept ? { [key]: "x" } : {}, `version ${version}`);
      }
    });
  }

  for (const { key, to = 12 } of KEYS) {
    it(`keeps the top-level ${key} up to version ${to}`, () => {
      for (const version of ALL) {
        const event = JSON.parse(`{"content":{},"${key}":"x"}`) as JsonObject;
        assert.equal(Object.hasOwn(redact(event, get(version)), key), version <= to);
      }
    });
  }

  it("keeps of a third-party invite what was signed, from version 11 on", () => {
    const signed = { mxid: "@a:b", token: "t", signatures: {} };
    const cases: [unknown, JsonObject][] = [
      [{ display_name: "a…", signed }, { third_party_invite: { signed } }],
      [{ display_name: "a…" }, { third_party_invite: {} }],
      ["text", {}],
      [null, {}],
      [[signed], {}],
    ];
    for (const [invite, left] of cases) {
      const content = { third_party_invite: invite };
      assert.deepEqual(redactContent("m.room.member", content, get(11)), left);
      assert.deepEqual(redactContent("m.room.member", content, get(10)), {});
    }
  });

  it("leaves an object as the content of whatever it is given", () => {
    for (const content of [undefined, null, "x", 1, []]) {
      assert.deepEqual(redact({ type: "m.room.create", content }, get(12)), {
        type: "m.room.create",
        content: {},
      });
      assert.deepEqual(redactContent(5, content, get(1)), {});
    }
  });

  it("twice is once, and changes nothing of its argument", () => {
    const types = fc.constantFrom(...new Set(CONTENT.map(({ type }) => type)));
    const keys = fc.constantFrom(...CONTENT.map(({ key }) => key), "third_party_invite", "signed");
    const event = fc.record({
      type: types,
      content: fc.dictionary(keys, fc.oneof(fc.jsonValue(), fc.dictionary(keys, fc.string()))),
      origin: fc.string(),
      unsigned: fc.jsonValue(),
    });
    fc.assert(
      fc.property(event, fc.constantFrom(...roomVersions.values()), (value, version) => {
        const before = JSON.stringify(value);
        const once = redact(value, version);
        assert.deepEqual(redact(once, version), once);
        assert.equal(JSON.stringify(value), before);
      }),
    );
  });
});
