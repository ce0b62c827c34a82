/** Conditions of push rules: https://spec.matrix.org/v1.19/client-server-api/#conditions */
import { compileGlob, containsWords, foldCase } from "./glob.ts";
import type { PowerLevels } from "./power-levels.ts";
import { BODY, type Path, pathOf, type PushEvent } from "./push-event.ts";
import type { PushCondition } from "./push-rules.ts";

/** Stands in the server-default rules for the ID of whoever they are evaluated for. */
export const OWN_USER_ID = Symbol("own user ID");

/** What rules ask of the room that an event is in. */
export interface PushRoom {
  /** Joined members. */
  readonly memberCount: number;
  readonly powerLevels: Pick<PowerLevels, "powerOf" | "notificationLevel">;
}

export interface PushUser {
  readonly userId: string;
  /** The display name in the room; undefined where the user has none. */
  readonly displayName: string | undefined;
}

/** A condition whose answer is the same for all users. */
export type SharedTest = (event: PushEvent, room: PushRoom) => boolean;
/** A condition whose answer depends on the user. */
export type OwnTest = (event: PushEvent, user: PushUser) => boolean;

/** The tests of a condition. One that depends on the user may have a part that does not. */
export interface CompiledCondition {
  readonly shared?: SharedTest;
  readonly own?: OwnTest;
}

const NEVER: CompiledCondition = { shared: () => false };

/** A condition that is not known, or lacks what it needs, matches no event. */
export function compileCondition(condition: PushCondition): CompiledCondition {
  const path = pathOf(condition["key"]);
  switch (condition.kind) {
    case "event_match":
      return path === undefined ? NEVER : compileMatch(path, condition["pattern"]);
    case "event_property_is": {
      const { value } = condition;
      if (path === undefined || !isPlain(value)) return NEVER;
      return { shared: (event) => event.valueAt(path) === value };
    }
    case "event_property_contains":
      return path === undefined ? NEVER : compileContains(path, condition["value"]);
    case "contains_display_name":
      return {
        shared: (event) => event.textAt(BODY) !== undefined,
        own: (event, { displayName = "" }) =>
          displayName !== "" && containsWords(event.textAt(BODY) ?? "", foldCase(displayName)),
      };
    case "room_member_count":
      return compileMemberCount(condition["is"]);
    case "sender_notification_permission": {
      const { key } = condition;
      if (typeof key !== "string") return NEVER;
      return {
        shared: ({ sender }, { powerLevels }) =>
          powerLevels.powerOf(sender) >= powerLevels.notificationLevel(key),
      };
    }
    default:
      return NEVER;
  }
}

function compileMatch(path: Path, pattern: unknown): CompiledCondition {
  if (pattern === OWN_USER_ID) {
    return {
      shared: (event) => event.textAt(path) !== undefined,
      own: (event, user) => event.valueAt(path) === user.userId,
    };
  }
  if (typeof pattern !== "string") return NEVER;
  const folded = foldCase(pattern);
  const glob = compileGlob(folded);
  if (path.key === BODY.key) {
    return { shared: (event) => isSome(event.textAt(path), (text) => glob.matchesWords(text)) };
  }
  return { shared: (event) => isSome(event.textAt(path), (text) => glob.matches(text)) };
}

function isSome(text: string | undefined, matches: (text: string) => boolean): boolean {
  return text !== undefined && matches(text);
}

function compileContains(path: Path, value: unknown): CompiledCondition {
  if (value === OWN_USER_ID) {
    return {
      shared: (event) => event.itemsAt(path).size > 0,
      own: (event, user) => event.itemsAt(path).has(user.userId),
    };
  }
  return isPlain(value) ? { shared: (event) => event.itemsAt(path).has(value) } : NEVER;
}

function compileMemberCount(is: unknown): CompiledCondition {
  const match = typeof is === "string" ? /^(==|<=|>=|<|>|)(\d{1,15})$/.exec(is) : null;
  if (match === null) return NEVER;
  const bound = Number(match[2]);
  switch (match[1]) {
    case "<":
      return { shared: (_, { memberCount }) => memberCount < bound };
    case ">":
      return { shared: (_, { memberCount }) => memberCount > bound };
    case "<=":
      return { shared: (_, { memberCount }) => memberCount <= bound };
    case ">=":
      return { shared: (_, { memberCount }) => memberCount >= bound };
    default:
      return { shared: (_, { memberCount }) => memberCount === bound };
  }
}

/** A value that conditions can be compared with. */
function isPlain(value: unknown): boolean {
  return (
    value === null ||
    typeof value === "string" ||
    typeof value === "boolean" ||
    Number.isSafeInteger(value)
  );
}
