/** What the authorisation rules read and what they answer; the rules are in auth-rules.ts. */
import type { PowerLevelRules } from "./power-levels.ts";
import type { JsonObject } from "./shape.ts";

/** What the rules read of an event; a `RoomEvent` is one. */
export interface AuthEvent {
  readonly eventId: string;
  /** The fields on the wire, in the format of the room version. */
  readonly pdu: {
    readonly type: string;
    readonly sender: string;
    readonly content: JsonObject;
    /** Absent in the `m.room.create` event of room version 12. */
    readonly room_id?: string;
    readonly state_key?: string;
    /** Event IDs, or pairs of an event ID and its hashes in room versions 1 and 2. */
    readonly prev_events: readonly EventReference[];
    /** Of `m.room.redaction`, up to room version 10. */
    readonly redacts?: unknown;
  };
}

export type EventReference = string | readonly [string, ...unknown[]];

/** The state that an event is checked against. */
export type StateLookup = (type: string, stateKey: string) => AuthEvent | undefined;

/** What a room version says of authorisation. */
export interface AuthRules extends PowerLevelRules {
  /** From version 12 on a room ID is the ID of its create event, which `auth_events` leave out. */
  readonly roomIdIsCreateEvent: boolean;
  /** Up to version 5 `m.room.aliases` has a rule of its own. */
  readonly aliasesAuthRule: boolean;
  /** Versions 1 and 2 decide over redactions by an authorisation rule. */
  readonly redactionAuthRule: boolean;
  /** From version 6 on a change of `notifications` in the power levels is checked. */
  readonly notificationLevelsAuthRule: boolean;
  /** From version 7 on. */
  readonly knock: boolean;
  /** From version 8 on. */
  readonly restrictedJoin: boolean;
  /** From version 10 on. */
  readonly knockRestrictedJoin: boolean;
}

/** The signatures that a rule depends on; each answers false for what it cannot check. */
export interface SignatureChecks {
  /** Whether the event carries a valid signature of a server. */
  isSignedBy(serverName: string): boolean;
  /**
   * Whether a JSON object carries a valid signature by a key.
   *
   * @param publicKey Ed25519, in base64 of either alphabet
   */
  isSignedWith(signed: JsonObject, publicKey: string): boolean;
}

/** The answer of the rules. `rule` is numbered as in room version 12, as `5.3.3`. */
export type Verdict =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly rule: string; readonly reason: string };

export const ALLOW: Verdict = { allowed: true };

export function reject(rule: string, reason: string): Verdict {
  return { allowed: false, rule, reason };
}

/** One string for a place in the state, the same for the same type and state key only. */
export function statePlace(type: string, stateKey: string): string {
  return `${type.length}:${type}${stateKey}`;
}

/** The place that a state event has; undefined for an event that is no state event. */
export function placeOf({ pdu }: AuthEvent): string | undefined {
  return pdu.state_key === undefined ? undefined : statePlace(pdu.type, pdu.state_key);
}

/** The event ID of an entry of `prev_events` or `auth_events`. */
export function referencedId(reference: EventReference): string {
  return typeof reference === "string" ? reference : reference[0];
}

/** The server of an ID; undefined for an ID without a domain, which equals no other's domain. */
export function domainOf(id: string): string | undefined {
  const colon = id.indexOf(":");
  return colon < 0 ? undefined : id.slice(colon + 1);
}

export function haveSameDomain(a: string, b: string): boolean {
  const domain = domainOf(a);
  return domain !== undefined && domain === domainOf(b);
}
