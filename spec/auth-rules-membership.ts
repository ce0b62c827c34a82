/** Rule 5 of the authorisation rules, on `m.room.member`, numbered as in room version 12. */
import {
  ALLOW,
  type AuthEvent,
  type AuthRules,
  domainOf,
  referencedId,
  reject,
  type SignatureChecks,
  type StateLookup,
  type Verdict,
} from "./authorisation.ts";
import { creatorsOf, memberOf, type PowerLevels } from "./power-levels.ts";
import { isObject, type JsonObject } from "./shape.ts";

interface MembershipQuestion {
  readonly event: AuthEvent;
  readonly state: StateLookup;
  readonly rules: AuthRules;
  readonly signatures: SignatureChecks;
  readonly create: AuthEvent;
  readonly powerLevels: PowerLevels;
}

/** The same with the target user, which is the state key. */
interface TargetQuestion extends MembershipQuestion {
  readonly target: string;
}

/** The membership of a user in a state; `leave` for a user that it does not know. */
export function membershipOf(state: StateLookup, userId: string): string {
  const membership = memberOf(state("m.room.member", userId)?.pdu.content, "membership");
  return typeof membership === "string" ? membership : "leave";
}

export function membershipVerdict(question: MembershipQuestion): Verdict {
  const { rules, signatures } = question;
  const event = question.event.pdu;
  const membership = memberOf(event.content, "membership");
  // 5.1
  if (event.state_key === undefined || membership === undefined) {
    return reject("5.1", "a member event needs a state_key and a membership");
  }
  // 5.2
  const authoriser = memberOf(event.content, "join_authorised_via_users_server");
  if (rules.restrictedJoin && authoriser !== undefined) {
    const server = typeof authoriser === "string" ? domainOf(authoriser) : undefined;
    // 5.2.1
    if (server === undefined || !signatures.isSignedBy(server)) {
      return reject("5.2.1", "the authorising user's server has not signed the event");
    }
  }
  const on = { ...question, target: event.state_key };
  switch (membership) {
    case "join":
      return joinVerdict(on);
    case "invite":
      return inviteVerdict(on);
    case "leave":
      return leaveVerdict(on);
    case "ban":
      return banVerdict(on);
    case "knock":
      if (rules.knock) return knockVerdict(on);
      break;
    default:
  }
  // 5.8
  return reject("5.8", "the membership is unknown");
}

/** 5.3. If membership is join */
function joinVerdict({
  event,
  target,
  state,
  rules,
  create,
  powerLevels,
}: TargetQuestion): Verdict {
  // 5.3.1; v1 to v10 have one creator, and it is only the sender of the create event from v11 on
  const [creator] = creatorsOf(create.pdu, rules);
  const [previous, ...further] = event.pdu.prev_events;
  if (
    previous !== undefined &&
    further.length === 0 &&
    referencedId(previous) === create.eventId &&
    target === creator
  ) {
    return ALLOW;
  }
  // 5.3.2
  if (event.pdu.sender !== target) return reject("5.3.2", "the sender joins another user");
  // 5.3.3
  const current = membershipOf(state, target);
  if (current === "ban") return reject("5.3.3", "the sender is banned");
  // 5.3.4
  const joinRule = joinRuleOf(state);
  const isInvited = current === "invite" || current === "join";
  if (joinRule === "invite" || (rules.knock && joinRule === "knock")) {
    return isInvited ? ALLOW : reject("5.3.4", "the sender is not invited");
  }
  // 5.3.5
  if (
    (rules.restrictedJoin && joinRule === "restricted") ||
    (rules.knockRestrictedJoin && joinRule === "knock_restricted")
  ) {
    // 5.3.5.1
    if (isInvited) return ALLOW;
    // 5.3.5.2
    const authoriser = memberOf(event.pdu.content, "join_authorised_via_users_server");
    if (
      typeof authoriser !== "string" ||
      membershipOf(state, authoriser) !== "join" ||
      powerLevels.powerOf(authoriser) < powerLevels.invite
    ) {
      return reject("5.3.5.2", "no joined user with the power to invite authorises the join");
    }
    // 5.3.5.3
    return ALLOW;
  }
  // 5.3.6, 5.3.7
  return joinRule === "public" ? ALLOW : reject("5.3.7", "the join rule lets nobody join");
}

/** 5.4. If membership is invite */
function inviteVerdict(question: TargetQuestion): Verdict {
  const { event, target, state, powerLevels } = question;
  // 5.4.1
  const thirdPartyInvite = memberOf(event.pdu.content, "third_party_invite");
  if (thirdPartyInvite !== undefined) return thirdPartyVerdict(question, thirdPartyInvite);
  // 5.4.2
  if (membershipOf(state, event.pdu.sender) !== "join") {
    return reject("5.4.2", "the sender is not joined to the room");
  }
  // 5.4.3
  const current = membershipOf(state, target);
  if (current === "join" || current === "ban") {
    return reject("5.4.3", `the invited user's membership is ${current}`);
  }
  // 5.4.4, 5.4.5
  return powerLevels.powerOf(event.pdu.sender) >= powerLevels.invite
    ? ALLOW
    : reject("5.4.5", "the sender's power level is below the invite level");
}

/** 5.4.1. If content has a third_party_invite property */
function thirdPartyVerdict(question: TargetQuestion, thirdPartyInvite: unknown): Verdict {
  const { event, target, state, signatures } = question;
  // 5.4.1.1
  if (membershipOf(state, target) === "ban") return reject("5.4.1.1", "the invited user is banned");
  // 5.4.1.2
  const signed = memberOf(thirdPartyInvite, "signed");
  if (!isObject(signed)) return reject("5.4.1.2", "third_party_invite has no signed");
  // 5.4.1.3
  const mxid = memberOf(signed, "mxid");
  const token = memberOf(signed, "token");
  if (typeof mxid !== "string" || typeof token !== "string") {
    return reject("5.4.1.3", "signed has no mxid or no token");
  }
  // 5.4.1.4
  if (mxid !== target) return reject("5.4.1.4", "mxid is not the invited user");
  // 5.4.1.5
  const invite = state("m.room.third_party_invite", token);
  if (invite === undefined) return reject("5.4.1.5", "no m.room.third_party_invite has the token");
  // 5.4.1.6
  if (event.pdu.sender !== invite.pdu.sender) {
    return reject("5.4.1.6", "the sender did not send the m.room.third_party_invite");
  }
  // 5.4.1.7, 5.4.1.8
  return publicKeysOf(invite.pdu.content).some((key) => signatures.isSignedWith(signed, key))
    ? ALLOW
    : reject("5.4.1.8", "no key of the m.room.third_party_invite signed the invite");
}

/** More keys than identity servers give; an event could hold a thousand, each of which costs. */
const MAX_PUBLIC_KEYS = 10;

function publicKeysOf(content: JsonObject): string[] {
  const list = memberOf(content, "public_keys");
  const keys = [
    memberOf(content, "public_key"),
    ...(Array.isArray(list) ? list.map((entry) => memberOf(entry, "public_key")) : []),
  ];
  return keys.filter((key) => typeof key === "string").slice(0, MAX_PUBLIC_KEYS);
}

/** 5.5. If membership is leave */
function leaveVerdict({ event, target, state, rules, powerLevels }: TargetQuestion): Verdict {
  const current = membershipOf(state, target);
  // 5.5.1
  if (event.pdu.sender === target) {
    const mayLeave =
      current === "invite" || current === "join" || (rules.knock && current === "knock");
    return mayLeave ? ALLOW : reject("5.5.1", "the sender is not in the room");
  }
  // 5.5.2
  if (membershipOf(state, event.pdu.sender) !== "join") {
    return reject("5.5.2", "the sender is not joined to the room");
  }
  // 5.5.3
  const power = powerLevels.powerOf(event.pdu.sender);
  if (current === "ban" && power < powerLevels.ban) {
    return reject("5.5.3", "the sender's power level is below the ban level");
  }
  // 5.5.4, 5.5.5
  return power >= powerLevels.kick && powerLevels.powerOf(target) < power
    ? ALLOW
    : reject("5.5.5", "the sender's power level does not suffice to kick the user");
}

/** 5.6. If membership is ban */
function banVerdict({ event, target, state, powerLevels }: TargetQuestion): Verdict {
  // 5.6.1
  if (membershipOf(state, event.pdu.sender) !== "join") {
    return reject("5.6.1", "the sender is not joined to the room");
  }
  // 5.6.2, 5.6.3
  const power = powerLevels.powerOf(event.pdu.sender);
  return power >= powerLevels.ban && powerLevels.powerOf(target) < power
    ? ALLOW
    : reject("5.6.3", "the sender's power level does not suffice to ban the user");
}

/** 5.7. If membership is knock */
function knockVerdict({ event, target, state, rules }: TargetQuestion): Verdict {
  // 5.7.1
  const joinRule = joinRuleOf(state);
  if (joinRule !== "knock" && !(rules.knockRestrictedJoin && joinRule === "knock_restricted")) {
    return reject("5.7.1", "the join rule does not allow knocking");
  }
  // 5.7.2
  if (event.pdu.sender !== target) return reject("5.7.2", "the sender knocks for another user");
  // 5.7.3, 5.7.4
  const current = membershipOf(state, target);
  return current === "ban" || current === "invite" || current === "join"
    ? reject("5.7.4", `the sender's membership is ${current}`)
    : ALLOW;
}

/** A room without a join rule is invite-only; a join rule that is no string lets nobody in. */
function joinRuleOf(state: StateLookup): unknown {
  const joinRule = memberOf(state("m.room.join_rules", "")?.pdu.content, "join_rule");
  return joinRule === undefined ? "invite" : joinRule;
}
