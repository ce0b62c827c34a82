/** Auth events: https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection */
import {
  ALLOW,
  type AuthEvent,
  type AuthRules,
  placeOf,
  reject,
  statePlace,
  type Verdict,
} from "./authorisation.ts";
import { memberOf } from "./power-levels.ts";

/** The place of a state event in the room state. */
export interface StateKey {
  readonly type: string;
  readonly stateKey: string;
}

type Selecting = Pick<AuthEvent["pdu"], "type" | "sender" | "state_key" | "content">;

/**
 * The state that gives the sender permission to send an event: the auth events are those of these
 * that the state before the event holds. Each is named once.
 */
export function authEventKeys(
  event: Selecting,
  rules: Pick<AuthRules, "roomIdIsCreateEvent" | "restrictedJoin">,
): StateKey[] {
  if (event.type === "m.room.create") return [];
  const keys: StateKey[] = [{ type: "m.room.power_levels", stateKey: "" }];
  const members = new Set([event.sender]);
  if (!rules.roomIdIsCreateEvent) keys.push({ type: "m.room.create", stateKey: "" });
  if (event.type === "m.room.member") {
    const membership = memberOf(event.content, "membership");
    if (event.state_key !== undefined) members.add(event.state_key);
    if (membership === "join" || membership === "invite" || membership === "knock") {
      keys.push({ type: "m.room.join_rules", stateKey: "" });
    }
    if (membership === "invite") {
      const signed = memberOf(memberOf(event.content, "third_party_invite"), "signed");
      const token = memberOf(signed, "token");
      if (typeof token === "string") {
        keys.push({ type: "m.room.third_party_invite", stateKey: token });
      }
    }
    if (membership === "join" && rules.restrictedJoin) {
      const authoriser = memberOf(event.content, "join_authorised_via_users_server");
      if (typeof authoriser === "string") members.add(authoriser);
    }
  }
  for (const stateKey of members) keys.push({ type: "m.room.member", stateKey });
  return keys;
}

/** An event that another names in its `auth_events`. */
export interface NamedAuthEvent {
  readonly event: AuthEvent;
  /** Whether it was itself rejected on receipt. */
  readonly isRejected: boolean;
}

/**
 * Checks the `auth_events` of an event, rule 3 of room version 12 and rule 2 of older versions.
 *
 * @param authEvents all of them, in the order of the event; the caller has found each one
 */
export function checkAuthEvents(
  { pdu: event }: AuthEvent,
  authEvents: readonly NamedAuthEvent[],
  rules: AuthRules,
): Verdict {
  if (event.type === "m.room.create") {
    return authEvents.length === 0 ? ALLOW : reject("3.2", "a create event has auth_events");
  }
  const expected = new Set(
    authEventKeys(event, rules).map((key) => statePlace(key.type, key.stateKey)),
  );
  const seen = new Set<string>();
  for (const { event: authEvent, isRejected } of authEvents) {
    const { type, room_id: roomId } = authEvent.pdu;
    const place = placeOf(authEvent);
    // 3.1
    if (place !== undefined && seen.has(place)) return reject("3.1", `two ${type} auth events`);
    // 3.2
    if (place === undefined || !expected.has(place)) {
      return reject("3.2", `${type} is not among the auth events of this event`);
    }
    seen.add(place);
    // 3.3
    if (isRejected) return reject("3.3", `the ${type} auth event was rejected`);
    // 3.5
    if (roomId !== event.room_id) {
      return reject("3.5", `the ${type} auth event is of another room`);
    }
  }
  // v1:2.4
  if (!rules.roomIdIsCreateEvent && !seen.has(statePlace("m.room.create", ""))) {
    return reject("v1:2.4", "no m.room.create among the auth events");
  }
  return ALLOW;
}
