/** Rooms and events for the tests of authorisation and state resolution. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { authorise } from "./auth-rules.ts";
import type { AuthEvent, SignatureChecks, StateLookup } from "./authorisation.ts";
import { type RoomVersion, roomVersions } from "./room-versions.ts";
import type { JsonObject } from "./shape.ts";

export const VERSIONS = Array.from({ length: 12 }, (_, i) => i + 1);

export const CREATOR = "@creator:a.example";
export const ALICE = "@alice:a.example";
export const BOB = "@bob:b.example";
export const CAROL = "@carol:c.example";

/** The rules of a room version by its number. */
export function rulesOf(version: number): RoomVersion {
  const rules = roomVersions.get(String(version));
  assert.ok(rules !== undefined);
  return rules;
}

export const ALL_SIGNED: SignatureChecks = { isSignedBy: () => true, isSignedWith: () => true };
export const NONE_SIGNED: SignatureChecks = { isSignedBy: () => false, isSignedWith: () => false };

type WireFields = AuthEvent["pdu"];
/** Fields of an event on the wire, and its ID. */
export type Fields = Partial<WireFields> &
  Pick<WireFields, "type"> & { readonly event_id?: string };

/** The ID of a room whose create event is the fixture's. */
export function roomIdOf(version: number): string {
  return version >= 12 ? "!create" : "!room:a.example";
}

/** An event of the fixture's room, from its creator unless it says otherwise. */
export function eventOf(version: number, fields: Fields): AuthEvent {
  const suffix = version <= 2 ? ":a.example" : "";
  const { event_id: eventId = `$event${suffix}`, ...pdu } = fields;
  return {
    eventId,
    pdu: {
      room_id: roomIdOf(version),
      sender: CREATOR,
      content: {},
      prev_events: [`$previous${suffix}`],
      ...pdu,
    },
  };
}

export function createEvent(version: number, content: JsonObject = {}): AuthEvent {
  const { eventId, pdu } = eventOf(version, {
    type: "m.room.create",
    event_id: version <= 2 ? "$create:a.example" : "$create",
    state_key: "",
    content: {
      room_version: String(version),
      ...(version <= 10 ? { creator: CREATOR } : {}),
      ...content,
    },
    prev_events: [],
  });
  const { room_id: roomId, ...create } = pdu;
  return {
    eventId,
    pdu: version >= 12 || roomId === undefined ? create : { ...create, room_id: roomId },
  };
}

export function member(userId: string, membership: string, content: JsonObject = {}): Fields {
  return {
    type: "m.room.member",
    event_id: `$${membership}-${userId}`,
    sender: userId,
    state_key: userId,
    content: { membership, ...content },
  };
}

export function joinRules(joinRule: unknown): Fields {
  return { type: "m.room.join_rules", state_key: "", content: { join_rule: joinRule } };
}

export function powerLevels(content: JsonObject): Fields {
  return { type: "m.room.power_levels", event_id: "$levels", state_key: "", content };
}

/** A state that holds the given events, the later ones winning. */
function stateOf(events: Iterable<AuthEvent>): StateLookup {
  const state = new Map<string, AuthEvent>();
  for (const event of events)
    state.set(JSON.stringify([event.pdu.type, event.pdu.state_key]), event);
  return (type, stateKey) => state.get(JSON.stringify([type, stateKey]));
}

/** One question to the rules and its answer, in a range of room versions. */
export interface Case {
  title: string;
  /** The first and last room version that it holds for. */
  in?: [number, number];
  event: Fields;
  /** State beside the create event and the joined creator. */
  state?: Fields[];
  create?: JsonObject;
  signatures?: SignatureChecks;
  /** The rule that rejects the event; absent where it is allowed. */
  rejectedBy?: string;
}

export function verdictOf(version: number, on: Omit<Case, "title">) {
  const state = [
    createEvent(version, on.create),
    eventOf(version, member(CREATOR, "join")),
    ...(on.state ?? []).map((fields) => eventOf(version, fields)),
  ];
  return authorise({
    event: eventOf(version, on.event),
    state: stateOf(state),
    rules: rulesOf(version),
    signatures: on.signatures ?? ALL_SIGNED,
  });
}

/** Makes each case a test. */
export function check(cases: Case[]) {
  for (const each of cases) {
    const [from, to] = each.in ?? [1, 12];
    const verdict = each.rejectedBy === undefined ? "allowed" : `rejected by ${each.rejectedBy}`;
    it(`${each.title}: ${verdict} in versions ${from}-${to}`, () => {
      for (const version of VERSIONS.filter((v) => v >= from && v <= to)) {
        const answer = verdictOf(version, each);
        const got = answer.allowed ? undefined : answer.rule;
        const reason = answer.allowed ? "" : answer.reason;
        assert.equal(got, each.rejectedBy, `version ${version}: ${reason}`);
      }
    });
  }
}
