import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  ALICE,
  ALL_SIGNED,
  BOB,
  CREATOR,
  type Case,
  check,
  createEvent,
  eventOf,
  type Fields,
  joinRules,
  member,
  powerLevels,
  rulesOf,
  verdictOf,
  VERSIONS,
} from "./auth-fixtures.ts";
import { authorise } from "./auth-rules.ts";
import type { JsonObject } from "./shape.ts";

const topic: Fields = { type: "m.room.topic", state_key: "", content: { topic: "t" } };

describe("1. m.room.create", () => {
  const create = (fields: Partial<Fields>, from = 1, to = 12): Pick<Case, "event" | "in"> => ({
    in: [from, to],
    event: { ...createEvent(from).pdu, event_id: createEvent(from).eventId, ...fields },
  });
  check([
    { title: "a create event before version 11", ...create({}, 1, 10) },
    { title: "a create event of version 11", ...create({ content: {} }, 11, 11) },
    {
      title: "a create event with prev_events",
      ...create({ prev_events: ["$x"] }),
      rejectedBy: "1.1",
    },
    {
      title: "a room ID of another server",
      ...create({ room_id: "!r:b.example" }, 1, 11),
      rejectedBy: "1.2",
    },
    { title: "a room ID without a server", ...create({ room_id: "!r" }, 1, 11), rejectedBy: "1.2" },
    { title: "any room ID", ...create({}, 12), rejectedBy: "1.2" },
    {
      title: "V022: an unknown room version",
      ...create({ content: { creator: CREATOR, room_version: "999" } }, 1, 11),
      rejectedBy: "1.3",
    },
    {
      title: "V022: a room version that is a number",
      ...create({ content: { creator: CREATOR, room_version: 12 } }, 1, 11),
      rejectedBy: "1.3",
    },
    {
      title: "V022: a room version that is null",
      ...create({ content: { creator: CREATOR, room_version: null } }, 1, 11),
      rejectedBy: "1.3",
    },
    { title: "V022: no room version", ...create({ content: { creator: CREATOR } }, 1, 11) },
    { title: "no creator", ...create({ content: {} }, 1, 10), rejectedBy: "v1:1.4" },
    {
      title: "V019: a predecessor that is a string",
      ...create({ content: { creator: CREATOR, predecessor: "x" } }, 1, 11),
    },
  ]);

  const withoutRoomId = (content: JsonObject) =>
    authorise({
      event: createEvent(12, content),
      state: () => undefined,
      rules: rulesOf(12),
      signatures: ALL_SIGNED,
    });
  it("version 12 takes additional_creators that are user IDs", () => {
    assert.deepEqual(withoutRoomId({}), { allowed: true });
    assert.deepEqual(withoutRoomId({ additional_creators: [ALICE, BOB] }), { allowed: true });
    assert.deepEqual(withoutRoomId({ additional_creators: [] }), { allowed: true });
  });
  it("1.4: version 12 rejects additional_creators that are anything else", () => {
    for (const wrong of [null, ALICE, { 0: ALICE }, [ALICE, 7], ["alice"], ["@alice"], [null]]) {
      const verdict = withoutRoomId({ additional_creators: wrong });
      assert.equal(verdict.allowed ? "" : verdict.rule, "1.4", JSON.stringify(wrong));
    }
  });
});

describe("2. to 4. the room and its create event", () => {
  it("an event of a room without a create event is rejected", () => {
    for (const version of VERSIONS) {
      const event = eventOf(version, topic);
      const question = { event, rules: rulesOf(version), signatures: ALL_SIGNED };
      const verdict = authorise({ ...question, state: () => undefined });
      assert.equal(verdict.allowed ? "" : verdict.rule, "3.4");
    }
  });
  check([
    {
      title: "V059: a room ID that is not the create event's",
      in: [12, 12],
      event: { ...topic, room_id: "!other" },
      rejectedBy: "2",
    },
    {
      title: "V059: a room ID with the wrong sigil",
      in: [12, 12],
      event: { ...topic, room_id: "$create" },
      rejectedBy: "2",
    },
    { title: "the room ID of the create event", event: topic },
    {
      title: "V049: another server's user in a room that does not federate",
      event: member(BOB, "join"),
      state: [joinRules("public")],
      create: { "m.federate": false },
      rejectedBy: "4",
    },
    {
      title: "the server's own user in a room that does not federate",
      event: member(ALICE, "join"),
      state: [joinRules("public")],
      create: { "m.federate": false },
    },
    {
      title: "another server's user where m.federate is no boolean",
      event: member(BOB, "join"),
      state: [joinRules("public")],
      create: { "m.federate": "false" },
    },
  ]);
});

describe("v1:4. m.room.aliases", () => {
  const aliases = (fields: Partial<Fields>) => ({ type: "m.room.aliases", ...fields });
  check([
    { title: "without a state key", in: [1, 5], event: aliases({}), rejectedBy: "v1:4.1" },
    {
      title: "for another server",
      in: [1, 5],
      event: aliases({ state_key: "b.example" }),
      rejectedBy: "v1:4.2",
    },
    {
      title: "for the own server, of nobody in the room",
      in: [1, 5],
      event: aliases({ sender: BOB, state_key: "b.example" }),
    },
    {
      title: "for the own server, of nobody in the room",
      in: [6, 12],
      event: aliases({ sender: BOB, state_key: "b.example" }),
      rejectedBy: "6",
    },
    { title: "for another server", in: [6, 12], event: aliases({ state_key: "b.example" }) },
  ]);
});

describe("6. to 9. sending", () => {
  const message: Fields = { type: "m.room.message", sender: ALICE };
  const pending: Fields = { type: "m.room.third_party_invite", state_key: "tok", sender: ALICE };
  const joined = member(ALICE, "join");
  check([
    { title: "a message of a member", event: message, state: [joined] },
    ...["invite", "knock", "leave", "ban"].map((membership) => ({
      title: `a message of a user in membership ${membership}`,
      event: message,
      state: [member(ALICE, membership)],
      rejectedBy: "6",
    })),
    { title: "a message of a stranger", event: message, rejectedBy: "6" },
    { title: "a third-party invite at the invite level", event: pending, state: [joined] },
    {
      title: "a third-party invite below the invite level",
      event: pending,
      state: [joined, powerLevels({ invite: 1 })],
      rejectedBy: "7.1",
    },
    {
      title: "V017: a message below events_default",
      event: message,
      state: [joined, powerLevels({ events_default: 50 })],
      rejectedBy: "8",
    },
    {
      title: "a message at events_default",
      event: message,
      state: [joined, powerLevels({ events_default: 50, users: { [ALICE]: 50 } })],
    },
    {
      title: "a state event below state_default",
      event: { ...topic, sender: ALICE },
      state: [joined, powerLevels({})],
      rejectedBy: "8",
    },
    {
      title: "a state event where no power levels are set",
      event: { ...topic, sender: ALICE },
      state: [joined],
      rejectedBy: "8",
    },
    { title: "the creator's state event where no power levels are set", event: topic },
    {
      title: "a state event that its type allows",
      event: { ...topic, sender: ALICE },
      state: [joined, powerLevels({ events: { "m.room.topic": 0 } })],
    },
    {
      title: "a message that its type forbids",
      event: message,
      state: [joined, powerLevels({ events: { "m.room.message": 1 } })],
      rejectedBy: "8",
    },
    {
      title: "V167: a state key that names another user",
      event: { type: "x", state_key: BOB },
      rejectedBy: "9",
    },
    {
      title: "V167: a state key that looks like a user",
      event: { type: "x", state_key: "@" },
      rejectedBy: "9",
    },
    { title: "V167: a state key that names the sender", event: { type: "x", state_key: CREATOR } },
  ]);
});

describe("v1:11. m.room.redaction", () => {
  const redaction = (redacts: string | undefined, sender = ALICE): Fields => ({
    type: "m.room.redaction",
    sender,
    ...(redacts === undefined ? {} : { redacts }),
    event_id: "$redaction:a.example",
  });
  const joined = member(ALICE, "join");
  check([
    { title: "at the redact level", in: [1, 2], event: redaction("$x:b.example", CREATOR) },
    {
      title: "just at the redact level",
      in: [1, 2],
      event: redaction("$x:b.example"),
      state: [joined, powerLevels({ redact: 20, users: { [ALICE]: 20 } })],
    },
    {
      title: "of the own server's event",
      in: [1, 2],
      event: redaction("$x:a.example"),
      state: [joined],
    },
    {
      title: "of another server's event",
      in: [1, 2],
      event: redaction("$x:b.example"),
      state: [joined],
      rejectedBy: "v1:11.3",
    },
    {
      title: "of an ID without a server",
      in: [1, 2],
      event: redaction("$x"),
      state: [joined],
      rejectedBy: "v1:11.3",
    },
    {
      title: "of nothing",
      in: [1, 2],
      event: redaction(undefined),
      state: [joined],
      rejectedBy: "v1:11.3",
    },
    {
      title: "of another server's event",
      in: [3, 12],
      event: redaction("$x:b.example"),
      state: [joined],
    },
    {
      title: "where its type forbids it",
      in: [3, 12],
      event: redaction("$x"),
      state: [joined, powerLevels({ events: { "m.room.redaction": 1 } })],
      rejectedBy: "8",
    },
  ]);
});

describe("malformed input", () => {
  const type = fc.constantFrom(
    "m.room.create",
    "m.room.member",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.third_party_invite",
    "m.room.aliases",
    "m.room.redaction",
    "m.room.message",
  );
  const key = fc.constantFrom(
    "membership",
    "third_party_invite",
    "join_authorised_via_users_server",
    "users",
    "events",
    "notifications",
    "join_rule",
    "creator",
    "additional_creators",
    "room_version",
    "ban",
    "public_key",
    "public_keys",
    "users_default",
    "__proto__",
  );
  const content = fc.dictionary(
    key,
    fc.oneof(fc.jsonValue(), fc.constantFrom("join", "invite", "knock", "ban", ALICE)),
  );
  const stateKey = fc.option(fc.constantFrom("", CREATOR, ALICE, BOB, "@", "tok"), {
    nil: undefined,
  });
  const fields = fc.record({
    type,
    content,
    sender: fc.constantFrom(CREATOR, ALICE, "nobody"),
    stateKey,
  });

  it("V022: any content of an event or of the state gives a verdict, never an exception", () => {
    fc.assert(
      fc.property(
        fields,
        fc.array(fields, { maxLength: 8 }),
        fc.integer({ min: 1, max: 12 }),
        (event, state, version) => {
          const of = ({ stateKey: state_key, ...rest }: typeof event): Fields =>
            state_key === undefined ? rest : { ...rest, state_key };
          const verdict = verdictOf(version, { event: of(event), state: state.map(of) });
          assert.equal(typeof verdict.allowed, "boolean");
        },
      ),
      { numRuns: 2000 },
    );
  });
});
