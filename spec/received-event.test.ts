import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encodeBase64 } from "./base64.ts";
import { MatrixError } from "./errors.ts";
import { buildEvent, isEventSignedBy, type NewEventFields } from "./event-format.ts";
import { canonicalEvent, contentHash } from "./event-hashes.ts";
import { parsePdu } from "./received-event.ts";
import { type RoomVersion, roomVersions } from "./room-versions.ts";
import type { JsonObject } from "./shape.ts";
import { SigningKey } from "./signing.ts";
import { JsonNumber } from "./strict-json.ts";

const key = new SigningKey("1", Buffer.alloc(32, 1));
const signer = { serverName: "domain", key };
const publicKey = { serverName: "domain", keyId: key.keyId, publicKey: key.publicKey };

function get(version: number): RoomVersion {
  return roomVersions.get(String(version))!;
}

/** A PDU that is fine, with changes that make it another; `undefined` takes a key away. */
function pduOf(version: number, changes: JsonObject = {}): JsonObject {
  const isAssigned = version <= 2;
  const fields: NewEventFields = {
    room_id: version === 12 ? `!${"r".repeat(43)}` : "!room:domain",
    ...(isAssigned ? { event_id: "$event:domain" } : {}),
    type: "m.room.topic",
    state_key: "",
    sender: "@alice:domain",
    content: { topic: "t" },
    origin_server_ts: 1_700_000_000_000,
    depth: 7,
    prev_events: [reference(version, "p")],
    auth_events: [reference(version, "a")],
  };
  const pdu: JsonObject = { ...buildEvent(fields, get(version), signer).pdu, ...changes };
  for (const [name, value] of Object.entries(changes)) if (value === undefined) delete pdu[name];
  return pdu;
}

function reference(version: number, letter: string): string | [string, JsonObject] {
  if (version > 2) return `$${letter.repeat(43)}`;
  return [`$${letter}:domain`, { sha256: letter.repeat(43) }];
}

function parse(version: number, changes: JsonObject = {}) {
  return parsePdu(Buffer.from(JSON.stringify(pduOf(version, changes))), get(version));
}

function drops(version: number, changes: JsonObject, errcode = "M_BAD_JSON"): void {
  assert.throws(
    () => parse(version, changes),
    (error) => error instanceof MatrixError && error.errcode === errcode,
    `version ${version}: ${JSON.stringify(changes).slice(0, 80)}`,
  );
}

const ALL = Array.from({ length: 12 }, (_, i) => i + 1);
/** One of each format. */
const FORMATS = [1, 3, 5, 6, 10, 11, 12];

describe("parsePdu", () => {
  it("accepts what is fine, in every version", () => {
    for (const version of ALL) {
      const event = parse(version);
      assert.equal(event.isRedacted, false);
      assert.equal(event.rejected, undefined);
      assert.ok(isEventSignedBy(event.pdu, get(version), publicKey));
    }
  });

  it("refuses fields of other types, and fields that are missing", () => {
    const wrong: Record<string, unknown[]> = {
      type: [undefined, null, 1, {}, ["x"]],
      sender: [
        undefined,
        null,
        1,
        "",
        "alice",
        "@alice",
        "@alice:",
        "alice:domain",
        "@a:b c",
        "@a\0:b",
      ],
      content: [undefined, null, 1, "x", [], true],
      state_key: [null, 1, {}, true],
      depth: [undefined, null, -1, 1.5, "5", true, [], {}],
      origin_server_ts: [undefined, null, 1.5, "5", {}],
      prev_events: [undefined, null, "x", {}, 1],
      auth_events: [undefined, null, "x", {}, 1],
      hashes: [undefined, null, [], "x", {}, { sha256: 1 }, { sha1: "x" }],
      signatures: [undefined, null, [], "x", { a: 1 }, { a: { "ed25519:1": 5 } }, { a: [] }],
      room_id: [
        undefined,
        null,
        1,
        "",
        "!",
        "room:domain",
        "!room:",
        "!a b",
        "!r:d/x",
        "!r\0:domain",
      ],
    };
    for (const version of FORMATS) {
      for (const [name, values] of Object.entries(wrong)) {
        for (const value of values) drops(version, { [name]: value });
      }
      for (const value of ["null", "[]", "1", '"x"']) {
        assert.throws(() => parsePdu(Buffer.from(value), get(version)), { errcode: "M_BAD_JSON" });
      }
      assert.throws(() => parsePdu(Buffer.from("{"), get(version)), { errcode: "M_NOT_JSON" });
    }
  });

  it("V001: refuses depths out of range", () => {
    for (const version of [6, 9, 12]) {
      for (const text of ["9007199254740992", "9223372036854775807", "-1", "1.0", "1e3", "-0"]) {
        drops(version, { depth: new JsonNumber(text) });
      }
      assert.equal(parse(version, { depth: 0 }).depth, 0);
      assert.equal(parse(version, { depth: 2 ** 53 - 1 }).depth, 2 ** 53 - 1);
    }
    for (const version of [1, 3, 5]) {
      for (const text of ["9223372036854775808", "-1", "1.5", "1.0", "1e3"]) {
        drops(version, { depth: new JsonNumber(text) });
      }
      const event = parse(version, { depth: new JsonNumber("9223372036854775807") });
      assert.equal(event.depth, Number.MAX_SAFE_INTEGER);
      assert.ok(event.json.includes('"depth":9223372036854775807,'));
      // A large integer that a double writes as it is.
      assert.equal(parse(version, { depth: 2 ** 53 }).depth, Number.MAX_SAFE_INTEGER);
    }
  });

  it("V020: refuses event references of bad format or number", () => {
    const bad: Record<number, unknown[]> = {
      1: ["$a:domain", ["$a:domain"], ["$a", {}], ["a:domain", {}], ["$a:domain", {}, {}], [1, {}]],
      3: ["$a:domain", "$", "a".repeat(44), `$${"a".repeat(42)}`, `$${"-".repeat(43)}`, 1, null],
      4: [
        `$${"+".repeat(43)}`,
        `$${"a".repeat(44)}`,
        `$${"a".repeat(42)} `,
        [reference(4, "a"), {}],
      ],
      12: ["$a:domain", `$${"/".repeat(43)}`, `!${"a".repeat(43)}`, {}],
    };
    for (const [version, references] of Object.entries(bad)) {
      for (const each of references) {
        drops(Number(version), { prev_events: [each] });
        drops(Number(version), { auth_events: [reference(Number(version), "a"), each] });
      }
    }
    for (const version of FORMATS) {
      const many = (count: number) => Array.from({ length: count }, () => reference(version, "p"));
      parse(version, { prev_events: many(20), auth_events: many(10) });
      drops(version, { prev_events: many(21) });
      drops(version, { auth_events: many(11) });
    }
    drops(12, { prev_events: Array.from({ length: 1000 }, () => reference(12, "p")) });
  });

  it("V013: measures the whole PDU, signatures included", () => {
    for (const version of FORMATS) {
      const size = (pdu: JsonObject) => Buffer.byteLength(canonicalEvent(pdu, get(version)));
      const rest = 65_536 - size(pduOf(version, { content: { body: "" } }));
      parse(version, { content: { body: "x".repeat(rest) } });
      parse(version, { content: { body: "é".repeat(rest >> 1) + "x".repeat(rest & 1) } });
      drops(version, { content: { body: "x".repeat(rest + 1) } }, "M_TOO_LARGE");
      drops(version, { content: { body: "é".repeat(rest >> 1) + "xx" } }, "M_TOO_LARGE");
      const signatures = { domain: { "ed25519:1": "x".repeat(65_000) } };
      drops(version, { signatures, content: { body: "x".repeat(1000) } }, "M_TOO_LARGE");
    }
  });

  it("V014: counts identifiers in bytes: malformed from version 11 on, before that rejected", () => {
    const long = "é".repeat(128);
    const cases: JsonObject[] = [
      { type: long },
      { state_key: long },
      { sender: `@${long}:domain` },
      { type: "x".repeat(256) },
      { state_key: "😀".repeat(64) },
    ];
    for (const changes of cases) {
      const isTooLong = Object.values(changes).some(
        (text) => Array.from(String(text)).length > 255,
      );
      for (const version of [11, 12]) drops(version, changes);
      for (const version of [1, 5, 10]) {
        if (isTooLong) drops(version, changes);
        else assert.match(parse(version, changes).rejected ?? "", /more than 255 bytes/);
      }
    }
    for (const version of [5, 10]) {
      assert.ok(parse(version, { room_id: `!${long}:domain` }).rejected);
      drops(version, { sender: `@${long}:no domain` });
      drops(version, { sender: long });
    }
    assert.ok(parse(1, { event_id: `$${long}:domain` }).rejected);
    drops(11, { room_id: `!${long}:domain` });
    for (const version of ALL) {
      assert.equal(
        parse(version, { type: "é".repeat(127), state_key: "x".repeat(255) }).rejected,
        undefined,
      );
    }
  });

  it("V004: refuses numbers that canonical JSON has not, from version 6 on", () => {
    const numbers = ["1.5", "1.0", "1e2", "-0", "9007199254740992", "-9007199254740992"];
    for (const text of numbers) {
      for (const version of [6, 12]) {
        drops(version, { content: { n: new JsonNumber(text) } });
        drops(version, { unknown: [new JsonNumber(text)] });
      }
      assert.doesNotThrow(() => parse(5, { content: { n: new JsonNumber(text) } }));
    }
  });

  it("V007: refuses duplicate keys", () => {
    const json = JSON.stringify(pduOf(12));
    for (const more of ['"sender":"@mallory:domain",', '"content":{},', '"\\u0074ype":"x",']) {
      const twice = json.replace("{", `{${more}`);
      assert.throws(() => parsePdu(Buffer.from(twice), get(12)), { errcode: "M_BAD_JSON" });
    }
  });

  it("V008: refuses bad UTF-8", () => {
    const bytes = Buffer.from(JSON.stringify(pduOf(12, { content: { body: "X" } })));
    bytes[bytes.indexOf("X")] = 0xff;
    assert.throws(() => parsePdu(bytes, get(12)), { errcode: "M_NOT_JSON" });
  });

  it("V011: takes content of up to 900 levels, all of the PDU counted", () => {
    const nested = (depth: number) => JSON.parse("[".repeat(depth) + "]".repeat(depth)) as unknown;
    for (const version of [1, 12]) {
      assert.doesNotThrow(() => parse(version, { content: { x: nested(898) } }));
      drops(version, { content: { x: nested(899) } });
    }
  });

  it("V176: accepts what is unusual: unknown keys, no state key, historical user IDs", () => {
    for (const version of FORMATS) {
      const pdu = pduOf(version, { unknown: { a: [1] }, state_key: undefined, origin: 5 });
      const hashes = { sha256: encodeBase64(contentHash(pdu, get(version))) };
      const event = parsePdu(Buffer.from(JSON.stringify({ ...pdu, hashes })), get(version));
      assert.equal(event.isRedacted, false);
      assert.deepEqual(event.pdu["unknown"], { a: [1] });
      for (const sender of ["@:domain", "@Ä ö:domain", "@A/b\n:domain:8448", "@a:[::1]:80"]) {
        assert.equal(parse(version, { sender }).pdu.sender, sender);
      }
    }
  });

  it("V032: leaves `unsigned` behind, whatever it is", () => {
    for (const unsigned of [{ age: 5, redacted_because: {}, "m.relations": {} }, null, "x", []]) {
      const event = parse(12, { unsigned });
      assert.ok(!("unsigned" in event.pdu) && !event.json.includes("unsigned"));
      assert.equal(event.isRedacted, false);
    }
  });

  it("takes the redacted event where the content hash does not match", () => {
    for (const version of FORMATS) {
      const whole = parse(version);
      const hashes = [{ sha256: "" }, { sha256: "!" }, { sha256: "A".repeat(43) }];
      for (const changes of [{ content: { topic: "other" } }, { extra: 1 }]) {
        const event = parse(version, changes);
        assert.ok(event.isRedacted);
        assert.deepEqual(event.pdu.content, {});
        assert.equal(event.pdu["extra"], undefined);
        assert.equal(event.json, canonicalEvent(event.pdu, get(version)));
        // It is still the event that was signed.
        assert.equal(event.eventId, whole.eventId);
        assert.ok(isEventSignedBy(event.pdu, get(version), publicKey));
      }
      for (const each of hashes) assert.ok(parse(version, { hashes: each }).isRedacted);
    }
  });

  it("takes the ID of versions 1 and 2 from the event, which has to have one with a domain", () => {
    assert.equal(parse(1).eventId, "$event:domain");
    for (const id of [undefined, null, 1, "", "$", "event:domain", "$event", "$event:", "$a:b c"]) {
      drops(1, { event_id: id });
      drops(2, { event_id: id });
    }
    const other = parse(4, { event_id: "$chosen:domain" });
    assert.notEqual(other.eventId, "$chosen:domain");
    assert.match(other.eventId, /^\$[A-Za-z0-9_-]{43}$/);
  });

  it("reads `redacts` as a string where the version has it", () => {
    for (const value of [1, null, {}]) {
      drops(10, { redacts: value });
      assert.doesNotThrow(() => parse(11, { redacts: value }));
    }
  });

  it("V059: makes the room ID of version 12 of the create event, and of no other", () => {
    const create = { type: "m.room.create", state_key: "", room_id: undefined };
    const event = parse(12, { ...create, prev_events: [], auth_events: [] });
    assert.equal(event.roomId, `!${event.eventId.slice(1)}`);
    drops(12, { room_id: undefined });
    drops(12, { ...create, state_key: undefined });
    drops(12, { ...create, state_key: "x" });
    drops(12, { room_id: "!room:domain" });
    drops(12, { room_id: `!${"r".repeat(42)}` });
    drops(11, create);
  });
});
