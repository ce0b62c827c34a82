/**
 * Evaluation of push rules: https://spec.matrix.org/v1.19/client-server-api/#push-rules
 *
 * Most users have the same rules, so rules are compiled and evaluated once per distinct set and
 * not once per user. What depends on who the user is (the own ID in `m.mentions`, an invite for
 * the user, the own display name) is left open, and settled for each user by `actionsFor`.
 */
import {
  compileCondition,
  OWN_USER_ID,
  type OwnTest,
  type PushRoom,
  type PushUser,
  type SharedTest,
} from "./push-conditions.ts";
import { BODY, type PushEvent } from "./push-event.ts";
import { type Action, type PushRule, rulesetOf, type UserPushRules } from "./push-rules.ts";
import { isObject, type JsonObject } from "./shape.ts";

/** A rule set, ready to be evaluated for any user that has it. */
export interface CompiledPushRules {
  /** Above all others, in order. */
  readonly overrides: readonly CompiledRule[];
  readonly content: readonly CompiledRule[];
  readonly rooms: ReadonlyMap<string, readonly Action[]>;
  readonly senders: ReadonlyMap<string, readonly Action[]>;
  readonly underrides: readonly CompiledRule[];
}

interface CompiledRule {
  readonly tests: readonly SharedTest[];
  readonly ownTests: readonly OwnTest[];
  readonly actions: readonly Action[];
}

/** What a rule set says of an event. */
export interface PushOutcome {
  /** True where all users but the sender get the same actions. */
  readonly isSameForAll: boolean;
  /** The actions of the first rule that matches; undefined where none does, and for the sender. */
  actionsFor(user: PushUser): readonly Action[] | undefined;
}

/** Compiles the rules of a user. Users whose rules are equal can share the result. */
export function compilePushRules(user: UserPushRules): CompiledPushRules {
  const ruleset = rulesetOf(user, OWN_USER_ID);
  const enabled = (rules: readonly PushRule[]) => rules.filter((rule) => rule.enabled);
  const byId = (rules: readonly PushRule[]) =>
    new Map(enabled(rules).map((rule) => [rule.rule_id, rule.actions]));
  return {
    overrides: enabled(ruleset.override).map(compileRule),
    content: enabled(ruleset.content).map((rule) =>
      compileRule({
        ...rule,
        conditions: [{ kind: "event_match", key: BODY.key, pattern: rule.pattern }],
      }),
    ),
    rooms: byId(ruleset.room),
    senders: byId(ruleset.sender),
    underrides: enabled(ruleset.underride).map(compileRule),
  };
}

/** Evaluates a rule set over an event. */
export function evaluatePushRules(
  rules: CompiledPushRules,
  event: PushEvent,
  room: PushRoom,
): PushOutcome {
  const candidates = candidatesOf(rules, event, room);
  const [first] = candidates;
  return {
    isSameForAll: first === undefined || first.ownTests.length === 0,
    actionsFor(user) {
      if (user.userId === event.sender) return undefined;
      const match = candidates.find((rule) => rule.ownTests.every((test) => test(event, user)));
      return match?.actions;
    },
  };
}

/** The rules that match for some users, up to the first that matches for all. */
function candidatesOf(rules: CompiledPushRules, event: PushEvent, room: PushRoom): CompiledRule[] {
  const candidates: CompiledRule[] = [];
  for (const rule of inOrder(rules, event)) {
    if (!rule.tests.every((test) => test(event, room))) continue;
    candidates.push(rule);
    if (rule.ownTests.length === 0) break;
  }
  return candidates;
}

function* inOrder(rules: CompiledPushRules, event: PushEvent): Generator<CompiledRule> {
  yield* rules.overrides;
  yield* rules.content;
  const inRoom = typeof event.roomId === "string" ? rules.rooms.get(event.roomId) : undefined;
  if (inRoom !== undefined) yield { tests: [], ownTests: [], actions: inRoom };
  const ofSender = rules.senders.get(event.sender);
  if (ofSender !== undefined) yield { tests: [], ownTests: [], actions: ofSender };
  yield* rules.underrides;
}

function compileRule({ conditions = [], actions }: Omit<PushRule, "rule_id">): CompiledRule {
  const tests: SharedTest[] = [];
  const ownTests: OwnTest[] = [];
  for (const condition of conditions) {
    const { shared, own } = compileCondition(condition);
    if (shared !== undefined) tests.push(shared);
    if (own !== undefined) ownTests.push(own);
  }
  return { tests, ownTests, actions };
}

/** What actions amount to. */
export interface Notification {
  readonly notify: boolean;
  readonly highlight: boolean;
  /** What a push gateway is told. */
  readonly tweaks: JsonObject;
}

/** Reads the actions of the rule that matched, if one did. */
export function notificationOf(actions: readonly Action[] | undefined): Notification {
  const tweaks = new Map<string, unknown>();
  for (const action of actions ?? []) {
    if (!isObject(action)) continue;
    const { set_tweak: name, value } = action;
    if (name === "highlight" && value === undefined) tweaks.set(name, true);
    else if (typeof name === "string" && value !== undefined) tweaks.set(name, value);
  }
  return {
    notify: actions?.includes("notify") ?? false,
    highlight: tweaks.get("highlight") === true,
    tweaks: Object.fromEntries(tweaks),
  };
}
