/** What a client may send as a push rule: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api */
import type { Action, PushCondition, PushRule, RuleKind } from "./push-rules.ts";
import {
  anyObject,
  array,
  badJson,
  invalidParam,
  object,
  optional,
  type Shape,
  string,
  text,
} from "./shape.ts";

const MAX_ACTIONS = 20;
const MAX_CONDITIONS = 20;
const MAX_PATTERN_BYTES = 1024;
const MAX_KEY_BYTES = 1024;

/** Actions of older versions, which mean nothing. */
const HISTORICAL_ACTIONS = new Set(["dont_notify", "coalesce"]);

const tweak = object({ set_tweak: string });

const action: Shape<Action> = {
  read(value, place) {
    if (typeof value === "string") {
      if (value === "notify" || HISTORICAL_ACTIONS.has(value)) return value;
      throw invalidParam(place, "no known action");
    }
    tweak.read(value, place);
    return anyObject.read(value, place);
  },
};

const actions = array(action, { max: MAX_ACTIONS });
const pattern = text({ maxBytes: MAX_PATTERN_BYTES });
const key = text({ maxBytes: MAX_KEY_BYTES });

/** A value of `event_property_is` and `event_property_contains`. */
const plainValue: Shape<unknown> = {
  read(value, place) {
    const isPlain =
      value === null ||
      typeof value === "string" ||
      typeof value === "boolean" ||
      Number.isSafeInteger(value);
    if (!isPlain) throw badJson(place, "a string, an integer, a boolean or null");
    return value;
  },
};

/** The parameters of the known kinds of conditions. Others are kept; they match no event. */
const CONDITIONS: ReadonlyMap<string, Shape<unknown>> = new Map<string, Shape<unknown>>([
  ["event_match", object({ key, pattern })],
  ["event_property_is", object({ key, value: plainValue })],
  ["event_property_contains", object({ key, value: plainValue })],
  ["room_member_count", object({ is: string })],
  ["sender_notification_permission", object({ key })],
]);

const condition: Shape<PushCondition> = {
  read(value, place) {
    const { kind } = object({ kind: string }).read(value, place);
    CONDITIONS.get(kind)?.read(value, place);
    return { ...anyObject.read(value, place), kind };
  },
};

const conditional = object({
  actions,
  conditions: optional(array(condition, { max: MAX_CONDITIONS })),
});
const content = object({ actions, pattern });
const unconditional = object({ actions });

/**
 * Reads the body of a new or changed rule.
 *
 * @throws MatrixError M_MISSING_PARAM, M_BAD_JSON or M_INVALID_PARAM
 */
export function readRule(
  kind: RuleKind,
  body: unknown,
): Pick<PushRule, "actions" | "conditions" | "pattern"> {
  if (kind === "override" || kind === "underride") {
    const rule = conditional.read(body, "body");
    return { conditions: rule.conditions ?? [], actions: current(rule.actions) };
  }
  if (kind === "content") {
    const rule = content.read(body, "body");
    return { pattern: rule.pattern, actions: current(rule.actions) };
  }
  return { actions: current(unconditional.read(body, "body").actions) };
}

/** @throws MatrixError M_BAD_JSON, M_MISSING_PARAM or M_INVALID_PARAM */
export function readActions(value: unknown): Action[] {
  return current(actions.read(value, "body.actions"));
}

/** Without what older versions had. */
function current(all: readonly Action[]): Action[] {
  return all.filter((each) => typeof each !== "string" || !HISTORICAL_ACTIONS.has(each));
}
