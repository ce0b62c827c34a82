/**
 * Push rules: https://spec.matrix.org/v1.19/client-server-api/#push-rules
 *
 * Of a user we store what the user changed, never the server-default rules: so that the defaults
 * of a later version of the specification reach everyone. Evaluation is in push-evaluation.ts.
 */
import { MatrixError } from "./errors.ts";
import { isRoomId, isUserId } from "./identifiers.ts";
import {
  DEFAULT_UNDERRIDE_RULES,
  defaultOverrideRules,
  MASTER_RULE,
} from "./push-rules-default.ts";
import { readActions, readRule } from "./push-rules-shape.ts";
import type { JsonObject } from "./shape.ts";

/** The kinds of rules, in the order in which they are checked. */
export const RULE_KINDS = ["override", "content", "room", "sender", "underride"] as const;
export type RuleKind = (typeof RULE_KINDS)[number];

/** `notify`, or a tweak; what older versions had is left out when it is stored. */
export type Action = string | JsonObject;
export type PushCondition = JsonObject & { readonly kind: string };

/** A rule as clients see it. */
export interface PushRule {
  readonly rule_id: string;
  readonly default: boolean;
  readonly enabled: boolean;
  readonly actions: readonly Action[];
  /** Of override and underride rules. */
  readonly conditions?: readonly PushCondition[];
  /** Of content rules. */
  readonly pattern?: string;
}

/** All rules of a user by kind, the most important first. */
export type Ruleset = { readonly [kind in RuleKind]: readonly PushRule[] };

/** What a user changed; plain JSON. */
export interface UserPushRules {
  /** The rules that the user made, the most important first. */
  readonly rules: Ruleset;
  /** What the user set of server-default rules, by rule ID. */
  readonly defaults: {
    readonly [ruleId: string]: { readonly enabled?: boolean; readonly actions?: readonly Action[] };
  };
}

/** The push rules of a user who changed none. */
export const NO_USER_RULES: UserPushRules = {
  rules: { override: [], content: [], room: [], sender: [], underride: [] },
  defaults: {},
};

/** More rules than rooms anyone is in, and so much text in all. */
const MAX_RULES = 5_000;
const MAX_BYTES = 768 * 1024;
/** Globs over texts of any length, each of which costs with each event. */
const MAX_CONTENT_PATTERNS = 500;
const MAX_RULE_ID_BYTES = 255;
/** Properties whose values are short. */
const SHORT_PROPERTIES = new Set(["type", "sender", "room_id", "state_key", "event_id"]);

/**
 * All rules of a user: the own ones and the server-default ones with what the user set of them.
 *
 * @param ownUserId what stands in the default rules for the Matrix ID of the user
 */
export function rulesetOf({ rules, defaults }: UserPushRules, ownUserId: unknown): Ruleset {
  const changed = (rule: PushRule): PushRule =>
    Object.hasOwn(defaults, rule.rule_id) ? { ...rule, ...defaults[rule.rule_id] } : rule;
  const overrides = defaultOverrideRules(ownUserId);
  return {
    ...rules,
    override: [changed(MASTER_RULE), ...rules.override, ...overrides.map(changed)],
    underride: [...rules.underride, ...DEFAULT_UNDERRIDE_RULES.map(changed)],
  };
}

/**
 * The kind of rule that a path names.
 *
 * @throws MatrixError M_INVALID_PARAM
 */
export function readKind(kind: string): RuleKind {
  const known = RULE_KINDS.find((each) => each === kind);
  if (known === undefined) throw new MatrixError("M_INVALID_PARAM", "kind: no kind of push rule");
  return known;
}

/** @throws MatrixError M_NOT_FOUND where the ruleset has no such rule */
export function getRule(ruleset: Ruleset, kind: RuleKind, ruleId: string): PushRule {
  const rule = ruleset[kind].find((each) => each.rule_id === ruleId);
  if (rule === undefined) throw notFound();
  return rule;
}

export interface NewRule {
  readonly kind: RuleKind;
  readonly ruleId: string;
  /** As the client sent it. */
  readonly body: unknown;
  /** The rule of the user that the new one goes right before: it is the more important of both. */
  readonly before?: string | undefined;
  /** The rule of the user that the new one goes right after, unless `before` is given. */
  readonly after?: string | undefined;
}

/**
 * Adds a rule of the user, or changes it. A new one is enabled, and the most important of its kind
 * unless `before` or `after` say otherwise; a changed one stays where and as enabled as it was.
 *
 * @throws MatrixError M_INVALID_PARAM for an ID that is not allowed, M_UNKNOWN with status 400 for
 *   a `before` or `after` that the user has not, M_TOO_LARGE for too many rules, and what the
 *   shape of the body throws
 */
export function putRule(
  user: UserPushRules,
  { kind, ruleId, body, before, after }: NewRule,
): UserPushRules {
  checkRuleId(kind, ruleId);
  const known = user.rules[kind];
  const was = known.find((each) => each.rule_id === ruleId);
  const rule: PushRule = {
    rule_id: ruleId,
    default: false,
    enabled: was?.enabled ?? true,
    ...readRule(kind, body),
  };
  const others = known.filter((each) => each !== was);
  for (const other of [before, after]) {
    if (other !== undefined && !others.some((each) => each.rule_id === other)) {
      throw new MatrixError("M_UNKNOWN", "before or after: no such rule of the user", {
        status: 400,
      });
    }
  }
  const placeOf = (id: string) => others.findIndex((each) => each.rule_id === id);
  let place = was === undefined ? 0 : known.indexOf(was);
  if (before !== undefined) place = placeOf(before);
  else if (after !== undefined) place = placeOf(after) + 1;
  return checkBounds(user, withRules(user, kind, others.toSpliced(place, 0, rule)));
}

/** @throws MatrixError M_NOT_FOUND for what is no rule that the user made */
export function removeRule(user: UserPushRules, kind: RuleKind, ruleId: string): UserPushRules {
  const rules = user.rules[kind].filter((rule) => rule.rule_id !== ruleId);
  if (rules.length === user.rules[kind].length) throw notFound();
  return withRules(user, kind, rules);
}

/** @throws MatrixError M_NOT_FOUND */
export function setRuleEnabled(
  user: UserPushRules,
  kind: RuleKind,
  ruleId: string,
  enabled: boolean,
): UserPushRules {
  return changeRule(user, kind, ruleId, { enabled });
}

/**
 * @param actions as the client sent them
 * @throws MatrixError M_NOT_FOUND, and what the shape of the actions throws
 */
export function setRuleActions(
  user: UserPushRules,
  kind: RuleKind,
  ruleId: string,
  actions: unknown,
): UserPushRules {
  const changed = changeRule(user, kind, ruleId, { actions: readActions(actions) });
  return checkBounds(user, changed);
}

function changeRule(
  user: UserPushRules,
  kind: RuleKind,
  ruleId: string,
  change: Partial<Pick<PushRule, "enabled" | "actions">>,
): UserPushRules {
  const rule = getRule(rulesetOf(user, ""), kind, ruleId);
  if (rule.default) {
    const before = Object.hasOwn(user.defaults, ruleId) ? user.defaults[ruleId] : undefined;
    return { ...user, defaults: { ...user.defaults, [ruleId]: { ...before, ...change } } };
  }
  const rules = user.rules[kind].map((each) => (each === rule ? { ...each, ...change } : each));
  return withRules(user, kind, rules);
}

function withRules(user: UserPushRules, kind: RuleKind, rules: readonly PushRule[]): UserPushRules {
  return { ...user, rules: { ...user.rules, [kind]: rules } };
}

function checkRuleId(kind: RuleKind, ruleId: string): void {
  const problem =
    (ruleId === "" && "is empty") ||
    (ruleId.startsWith(".") && "starts with a dot, as those of the server do") ||
    (/[/\\\0]/.test(ruleId) && "holds a slash, a backslash or NUL") ||
    (Buffer.byteLength(ruleId) > MAX_RULE_ID_BYTES && `has more than ${MAX_RULE_ID_BYTES} bytes`) ||
    (kind === "room" && !isRoomId(ruleId) && "is not a room ID") ||
    (kind === "sender" && !isUserId(ruleId) && "is not a user ID");
  if (problem !== false) throw new MatrixError("M_INVALID_PARAM", `ruleId: ${problem}`);
}

/** Refuses what is beyond a bound, unless it was before: such rules can still be made fewer. */
function checkBounds(before: UserPushRules, after: UserPushRules): UserPushRules {
  const sizes = sizesOf(after);
  const were = sizesOf(before);
  for (const [i, max] of [MAX_RULES, MAX_CONTENT_PATTERNS, MAX_BYTES].entries()) {
    const size = sizes[i] ?? 0;
    if (size > max && size > (were[i] ?? 0)) {
      throw new MatrixError("M_TOO_LARGE", "more or longer push rules than this server keeps");
    }
  }
  return after;
}

/** How many rules, how many patterns over long texts, and how many bytes. */
function sizesOf(user: UserPushRules): [number, number, number] {
  const rules = RULE_KINDS.flatMap((kind) => user.rules[kind]);
  const conditions = rules.flatMap((rule) => rule.conditions ?? []);
  const patterns = conditions.filter(({ kind, key }) =>
    kind === "event_match"
      ? typeof key === "string" && !SHORT_PROPERTIES.has(key)
      : kind === "contains_display_name",
  );
  const bytes = Buffer.byteLength(JSON.stringify(user));
  return [rules.length, user.rules.content.length + patterns.length, bytes];
}

function notFound(): MatrixError {
  return new MatrixError("M_NOT_FOUND", "The push rule was not found.");
}
