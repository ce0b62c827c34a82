/**
 * Authorisation rules of all room versions: https://spec.matrix.org/v1.19/rooms/
 *
 * The numbers in the comments and verdicts are those of room version 12; rules that only older
 * versions have bear theirs, as `v1:4.1`. Power levels and memberships are in files of their own.
 */
import { powerLevelsVerdict } from "./auth-rules-power-levels.ts";
import { membershipOf, membershipVerdict } from "./auth-rules-membership.ts";
import {
  ALLOW,
  type AuthEvent,
  type AuthRules,
  domainOf,
  haveSameDomain,
  reject,
  type SignatureChecks,
  type StateLookup,
  type Verdict,
} from "./authorisation.ts";
import { isUserId } from "./identifiers.ts";
import { memberOf, readPowerLevels } from "./power-levels.ts";
import { roomVersions } from "./room-versions.ts";

export interface AuthQuestion {
  readonly event: AuthEvent;
  /** The auth events, the state before the event, or the current state: whichever is asked about. */
  readonly state: StateLookup;
  readonly rules: AuthRules;
  readonly signatures: SignatureChecks;
}

/**
 * Decides whether a state lets an event into the room.
 *
 * The checks of the event's own `auth_events` (rule 3) are `checkAuthEvents`, in auth-events.ts.
 * In room version 12 `state` has to give the accepted create event although no event names it.
 */
export function authorise(question: AuthQuestion): Verdict {
  const { state, rules } = question;
  const event = question.event.pdu;

  // 1. If type is m.room.create
  if (event.type === "m.room.create") return createVerdict(question);

  const create = state("m.room.create", "");
  if (create === undefined) return reject("3.4", "the state has no m.room.create event");

  // 2. The room ID is that of an accepted create event
  if (rules.roomIdIsCreateEvent && event.room_id !== `!${create.eventId.slice(1)}`) {
    return reject("2", "room_id is not the ID of the create event");
  }

  // 4. m.federate
  const federate = memberOf(create.pdu.content, "m.federate");
  if (federate === false && !haveSameDomain(event.sender, create.pdu.sender)) {
    return reject("4", "the room does not federate and the sender is of another server");
  }

  // v1:4. If type is m.room.aliases
  if (rules.aliasesAuthRule && event.type === "m.room.aliases") return aliasesVerdict(event);

  const content = state("m.room.power_levels", "")?.pdu.content;
  const powerLevels = readPowerLevels(content, create.pdu, rules);

  // 5. If type is m.room.member
  if (event.type === "m.room.member") {
    return membershipVerdict({ ...question, create, powerLevels });
  }

  // 6. If the sender's current membership state is not join, reject
  if (membershipOf(state, event.sender) !== "join") {
    return reject("6", "the sender is not joined to the room");
  }

  const power = powerLevels.powerOf(event.sender);

  // 7. If type is m.room.third_party_invite
  if (event.type === "m.room.third_party_invite") {
    return power >= powerLevels.invite
      ? ALLOW
      : reject("7.1", "the sender's power level is below the invite level");
  }

  // 8. The required power level
  if (powerLevels.levelFor(event.type, event.state_key !== undefined) > power) {
    return reject("8", "the sender's power level is below the one required");
  }

  // 9. A state key that names a user names the sender
  if (event.state_key?.startsWith("@") === true && event.state_key !== event.sender) {
    return reject("9", "the state_key names another user");
  }

  // 10. If type is m.room.power_levels
  if (event.type === "m.room.power_levels") {
    return powerLevelsVerdict({
      proposed: event.content,
      current: content,
      create: create.pdu,
      sender: event.sender,
      rules,
      power,
    });
  }

  // v1:11. If type is m.room.redaction
  if (rules.redactionAuthRule && event.type === "m.room.redaction") {
    // v1:11.1
    if (power >= powerLevels.redact) return ALLOW;
    // v1:11.2
    if (
      typeof event.redacts === "string" &&
      haveSameDomain(event.redacts, question.event.eventId)
    ) {
      return ALLOW;
    }
    // v1:11.3
    return reject("v1:11.3", "the sender may not redact events of other servers");
  }

  // 11. Otherwise, allow
  return ALLOW;
}

function createVerdict({ event: { pdu: event }, rules }: AuthQuestion): Verdict {
  const { content } = event;
  // 1.1
  if (event.prev_events.length > 0) return reject("1.1", "a create event has prev_events");
  // 1.2
  if (rules.roomIdIsCreateEvent) {
    if (event.room_id !== undefined) return reject("1.2", "a create event has a room_id");
  } else if (event.room_id === undefined || !haveSameDomain(event.room_id, event.sender)) {
    return reject("1.2", "the room_id is of another server than the sender");
  }
  // 1.3
  const version = memberOf(content, "room_version");
  if (version !== undefined && !(typeof version === "string" && roomVersions.has(version))) {
    return reject("1.3", "the room_version is not known");
  }
  // v1:1.4
  if (rules.creatorInContent && memberOf(content, "creator") === undefined) {
    return reject("v1:1.4", "the content has no creator");
  }
  // 1.4
  const creators = memberOf(content, "additional_creators");
  if (rules.privilegedCreators && creators !== undefined) {
    const areUserIds =
      Array.isArray(creators) && creators.every((id) => typeof id === "string" && isUserId(id));
    if (!areUserIds) return reject("1.4", "additional_creators is not an array of user IDs");
  }
  // 1.5
  return ALLOW;
}

function aliasesVerdict(event: AuthEvent["pdu"]): Verdict {
  // v1:4.1
  if (event.state_key === undefined) return reject("v1:4.1", "m.room.aliases has no state_key");
  // v1:4.2
  if (domainOf(event.sender) !== event.state_key) {
    return reject("v1:4.2", "the state_key is not the sender's server");
  }
  // v1:4.3
  return ALLOW;
}
