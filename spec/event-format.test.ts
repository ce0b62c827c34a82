import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { decodeBase64, encodeBase64 } from "./base64.ts";
import { MatrixError } from "./errors.ts";
import {
  buildEvent,
  clientFormat,
  cosignEvent,
  depthAfter,
  isContentHashValid,
  isEventSignedBy,
  type NewEventFields,
  type Pdu,
  readStoredEvent,
  redactEvent,
  referenceTo,
} from "./event-format.ts";
import { contentHash, referenceHash, signedTextOf } from "./event-hashes.ts";
import type { EventId, RoomId } from "./identifiers.ts";
import { parsePdu, readPdu } from "./received-event.ts";
import { type RoomVersion, roomVersions } from "./room-versions.ts";
import type { JsonObject } from "./shape.ts";
import { SigningKey } from "./signing.ts";
import { parseJson } from "./strict-json.ts";

interface EventVector {
  version: string;
  pdu: Pdu;
  event_id: EventId;
  reference_hash: string;
  redacted: string;
}
const vectors = parseJson(readFileSync(new URL("vectors/events.json", import.meta.url)), {
  maxDepth: 20,
}) as EventVector[];
const signing: {
  seed: string;
  events: { event: JsonObject; sha256: string; signature: string }[];
} = JSON.parse(readFileSync(new URL("vectors/signing.json", import.meta.url), "utf8"));

const key = new SigningKey("1", decodeBase64(signing.seed)!);
const signer = { serverName: "domain", key };
const publicKey = { serverName: "domain", keyId: key.keyId, publicKey: key.publicKey };

function get(version: string): RoomVersion {
  return roomVersions.get(version)!;
}

const ROOM: RoomId = `!${"r".repeat(43)}`;
const message: NewEventFields = {
  room_id: ROOM,
  type: "m.room.message",
  sender: "@alice:domain",
  content: { msgtype: "m.text", body: "hello" },
  origin_server_ts: 1_700_000_000_000,
  depth: 7,
  prev_events: [`$${"p".repeat(43)}`],
  auth_events: [`$${"a".repeat(43)}`],
};

/** The same in the format of versions 1 and 2. */
const assigned: NewEventFields = {
  ...message,
  room_id: "!room:domain",
  event_id: "$event:domain",
  prev_events: [["$p:domain", { sha256: "x" }]],
  auth_events: [["$a:domain", { sha256: "x" }]],
};

function fieldsFor(version: RoomVersion): NewEventFields {
  return version.eventIds === "assigned" ? assigned : message;
}

describe("hashes and signatures of events", () => {
  it("give the vectors of the specification", () => {
    const v1 = get("1");
    for (const { event, sha256, signature } of signing.events) {
      assert.equal(encodeBase64(contentHash(event, v1)), sha256);
      const signed = signedTextOf({ ...event, hashes: { sha256 } }, v1);
      assert.equal(key.sign(signed), signature);
    }
  });

  for (const [version, rules] of roomVersions) {
    it(`of version ${version} are those of another implementation`, () => {
      const ours = vectors.filter((vector) => vector.version === version);
      assert.ok(ours.length > 10);
      for (const { pdu, event_id: eventId, reference_hash: hash, redacted } of ours) {
        const event = readPdu(pdu, rules);
        assert.equal(event.eventId, eventId);
        assert.equal(encodeBase64(referenceHash(pdu, rules)), hash);
        assert.equal(event.isRedacted, false);
        assert.equal(event.rejected, undefined);
        assert.ok(isEventSignedBy(pdu, rules, publicKey));
        assert.equal(redactEvent(event, rules).json, redacted);
        // What is stored reads back as what it was.
        const stored = readStoredEvent(event.json, rules, event);
        assert.deepEqual(stored.pdu, pdu);
        assert.equal(parsePdu(Buffer.from(stored.json), rules).json, event.json);
      }
    });

    it(`of version ${version} are those that buildEvent makes`, () => {
      for (const { pdu, event_id: eventId } of vectors.filter((v) => v.version === version)) {
        const { hashes: _, signatures: __, redacts, origin, membership, unknown, ...fields } = pdu;
        if (origin !== undefined || membership !== undefined || unknown !== undefined) continue;
        const more = typeof redacts === "string" ? { redacts: redacts as EventId } : {};
        const built = buildEvent({ ...(fields as NewEventFields), ...more }, rules, signer);
        assert.equal(built.eventId, eventId);
        assert.deepEqual(built.pdu, pdu);
        assert.equal(built.json, readPdu(pdu, rules).json);
      }
    });
  }
});

describe("buildEvent", () => {
  it("makes what another server accepts, for any content", () => {
    const content = fc.dictionary(
      fc.string({ unit: "binary" }),
      fc.oneof(fc.string({ unit: "binary" }), fc.maxSafeInteger(), fc.jsonValue({ maxDepth: 3 })),
    );
    const versions = fc.constantFrom(...roomVersions.values());
    const types = fc.constantFrom("m.room.message", "m.room.member", "m.room.create", "x.😀");
    fc.assert(
      fc.property(
        content,
        versions,
        types,
        fc.option(fc.string()),
        (draft, version, type, stateKey) => {
          const fields = {
            ...fieldsFor(version),
            content: draft as JsonObject,
            type,
            ...(stateKey === null ? {} : { state_key: stateKey }),
          };
          let event;
          try {
            event = buildEvent(fields, version, signer);
          } catch (error) {
            // Fractions and lone surrogates, which jsonValue makes too.
            assert.ok(error instanceof MatrixError && error.errcode === "M_BAD_JSON");
            return;
          }
          const received = parsePdu(Buffer.from(event.json), version);
          assert.equal(received.eventId, event.eventId);
          assert.equal(received.json, event.json);
          assert.equal(received.isRedacted, false);
          assert.ok(isEventSignedBy(received.pdu, version, publicKey));
          assert.ok(isEventSignedBy(redactEvent(event, version).pdu, version, publicKey));
        },
      ),
    );
  });

  it("V013: measures an event with its signature", () => {
    for (const version of roomVersions.values()) {
      const fields = fieldsFor(version);
      const empty = buildEvent({ ...fields, content: { body: "" } }, version, signer).json.length;
      const fill = (bytes: number): NewEventFields => ({
        ...fields,
        content: { body: "é".repeat((bytes - empty) >> 1) + "x".repeat((bytes - empty) & 1) },
      });
      const largest = buildEvent(fill(65_536), version, signer);
      assert.equal(Buffer.byteLength(largest.json), 65_536);
      assert.equal(parsePdu(Buffer.from(largest.json), version).eventId, largest.eventId);
      assert.throws(
        () => buildEvent(fill(65_537), version, signer),
        (error) => error instanceof MatrixError && error.errcode === "M_TOO_LARGE",
      );
    }
  });

  it("V014: counts the bytes of type and state key", () => {
    const v12 = get("12");
    for (const text of ["x".repeat(255), "é".repeat(127)]) {
      buildEvent({ ...message, type: text, state_key: text }, v12, signer);
    }
    for (const text of ["x".repeat(256), "é".repeat(128), "😀".repeat(64)]) {
      for (const name of ["type", "state_key"]) {
        assert.throws(
          () => buildEvent({ ...message, [name]: text }, v12, signer),
          (error) => error instanceof MatrixError && error.errcode === "M_TOO_LARGE",
        );
      }
    }
  });

  it("V004: refuses numbers that canonical JSON has not, from version 6 on", () => {
    const content = parseJson(Buffer.from('{"n":1.0}'), { maxDepth: 10 }) as JsonObject;
    for (const [name, version] of roomVersions) {
      const build = (draft: JsonObject) => () =>
        buildEvent({ ...fieldsFor(version), content: draft }, version, signer);
      if (Number(name) < 6) {
        assert.ok(build(content)().json.includes('"n":1.0}'));
        assert.ok(build({ n: 1.5 })().json.includes('"n":1.5}'));
      } else {
        for (const draft of [content, { n: 1.5 }, { n: 2 ** 53 }]) {
          assert.throws(build(draft), { errcode: "M_BAD_JSON" });
        }
      }
    }
  });

  it("V005: gives an escaped and a raw emoji one event ID", () => {
    const contents = ['{"body":"😀"}', '{"body":"\\ud83d\\ude00"}'].map((json) =>
      parseJson(Buffer.from(json), { maxDepth: 10 }),
    ) as JsonObject[];
    const ids = contents.map(
      (content) => buildEvent({ ...message, content }, get("12"), signer).eventId,
    );
    assert.equal(ids[0], ids[1]);
  });

  it("puts what a redaction redacts where the version wants it", () => {
    const redacts: EventId = `$${"t".repeat(43)}`;
    const redaction = {
      ...message,
      type: "m.room.redaction",
      content: { reason: "spam" },
      redacts,
    };
    const old = buildEvent(redaction, get("10"), signer);
    assert.equal(old.pdu.redacts, redacts);
    assert.deepEqual(old.pdu.content, { reason: "spam" });
    const recent = buildEvent(redaction, get("11"), signer);
    assert.equal(recent.pdu.redacts, undefined);
    assert.deepEqual(recent.pdu.content, { reason: "spam", redacts });
  });

  it("derives the room ID from the create event of version 12", () => {
    const { room_id: _, ...create } = { ...message, type: "m.room.create", state_key: "" };
    const event = buildEvent({ ...create, prev_events: [], auth_events: [] }, get("12"), signer);
    assert.equal(event.roomId, `!${event.eventId.slice(1)}`);
    assert.equal(event.pdu.room_id, undefined);
    assert.equal(parsePdu(Buffer.from(event.json), get("12")).roomId, event.roomId);
    assert.equal(clientFormat(event, get("12")).room_id, event.roomId);
  });

  it("never names more events than others accept", () => {
    const refs = (count: number) => Array.from({ length: count }, () => message.prev_events[0]!);
    buildEvent({ ...message, prev_events: refs(20), auth_events: refs(10) }, get("12"), signer);
    for (const more of [{ prev_events: refs(21) }, { auth_events: refs(11) }]) {
      assert.throws(() => buildEvent({ ...message, ...more }, get("12"), signer), RangeError);
    }
  });
});

describe("events", () => {
  it("V002: after one of the greatest depth have the greatest depth", () => {
    assert.equal(depthAfter([]), 1);
    assert.equal(depthAfter([3, 9, 4]), 10);
    assert.equal(depthAfter([1, Number.MAX_SAFE_INTEGER]), Number.MAX_SAFE_INTEGER);
  });

  it("are named with their hash in versions 1 and 2, and by their ID after", () => {
    for (const version of roomVersions.values()) {
      const event = buildEvent(fieldsFor(version), version, signer);
      const reference = referenceTo(event, version);
      if (version.eventIds !== "assigned") assert.equal(reference, event.eventId);
      else {
        const sha256 = encodeBase64(referenceHash(event.pdu, version));
        assert.deepEqual(reference, ["$event:domain", { sha256 }]);
      }
    }
  });

  it("can be signed by several servers", () => {
    const other = new SigningKey("2", Buffer.alloc(32, 9));
    const v12 = get("12");
    const event = buildEvent(message, v12, signer);
    const both = cosignEvent(event, v12, { serverName: "other", key: other });
    assert.equal(both.eventId, event.eventId);
    assert.deepEqual(Object.keys(event.pdu.signatures), ["domain"]);
    assert.ok(isEventSignedBy(both.pdu, v12, publicKey));
    const theirs = { serverName: "other", keyId: "ed25519:2", publicKey: other.publicKey };
    assert.ok(isEventSignedBy(both.pdu, v12, theirs));
    assert.equal(isEventSignedBy(both.pdu, v12, { ...theirs, serverName: "domain" }), false);
    assert.equal(parsePdu(Buffer.from(both.json), v12).json, both.json);
    assert.ok(isContentHashValid(both.pdu, v12));
  });
});

describe("clientFormat", () => {
  it("has what clients know, and no more", () => {
    const event = buildEvent({ ...message, state_key: "" }, get("12"), signer);
    assert.deepEqual(clientFormat(event, get("12")), {
      content: message.content,
      event_id: event.eventId,
      origin_server_ts: 1_700_000_000_000,
      room_id: ROOM,
      sender: "@alice:domain",
      state_key: "",
      type: "m.room.message",
    });
    assert.ok(!("state_key" in clientFormat(buildEvent(message, get("12"), signer), get("12"))));
  });

  it("names what a redaction redacts in both places, in every version", () => {
    for (const version of roomVersions.values()) {
      const redacts: EventId = `$${"t".repeat(43)}`;
      const fields = { ...fieldsFor(version), type: "m.room.redaction", content: { reason: "x" } };
      const event = buildEvent({ ...fields, redacts }, version, signer);
      const client = clientFormat(event, version);
      assert.equal(client.redacts, redacts);
      assert.deepEqual(client.content, { reason: "x", redacts });
      const without = clientFormat(buildEvent(fields, version, signer), version);
      assert.ok(!("redacts" in without) && !("redacts" in without.content));
    }
  });

  it("does not believe the place that the version does not use", () => {
    const content = { redacts: "$content" };
    const pdu = { ...buildEvent({ ...message, type: "m.room.redaction" }, get("12"), signer).pdu };
    const event = {
      eventId: "$e",
      roomId: ROOM,
      pdu: { ...pdu, content, redacts: "$top" },
    } as const;
    assert.equal(clientFormat(event, get("11")).redacts, "$content");
    assert.deepEqual(clientFormat(event, get("10")).content, { redacts: "$top" });
  });

  it("keeps numbers as they were signed", () => {
    const content = parseJson(Buffer.from('{"n":12345678901234567890}'), {
      maxDepth: 9,
    }) as JsonObject;
    const event = buildEvent({ ...assigned, content }, get("1"), signer);
    const stored = readStoredEvent(event.json, get("1"), event);
    assert.ok(
      JSON.stringify(clientFormat(stored, get("1"))).includes('{"n":12345678901234567890}'),
    );
  });
});
