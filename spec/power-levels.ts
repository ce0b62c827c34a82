/**
 * Power levels: https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels
 *
 * What a room's `m.room.power_levels` content means under the rules of its version. Reading
 * never fails: a level that the version cannot read counts as one that is not there.
 */
import { isObject, type JsonObject } from "./shape.ts";
import { JsonNumber } from "./strict-json.ts";

/** What a room version says of power levels. */
export interface PowerLevelRules {
  /** From version 10 on a level is an integer; before, also a string that holds one. */
  readonly integerPowerLevels: boolean;
  /** From version 6 on numbers are those of canonical JSON; before, also fractions and beyond. */
  readonly strictCanonicalJson: boolean;
  /** From version 12 on the creators stand above every level. */
  readonly privilegedCreators: boolean;
  /** Up to version 10 the create event names the creator in `content.creator`. */
  readonly creatorInContent: boolean;
}

/** What is read of an `m.room.create` event. */
export interface CreateEvent {
  readonly sender: string;
  readonly content: JsonObject;
}

export interface PowerLevels {
  /** The power level of a user; Infinity for a creator where creators are privileged. */
  powerOf(userId: string): number;
  /** The level that sending an event of a type requires. */
  levelFor(type: string, isState: boolean): number;
  /** The level that a notification of a kind requires, such as `room` for `@room`. */
  notificationLevel(key: string): number;
  readonly ban: number;
  readonly invite: number;
  readonly kick: number;
  readonly redact: number;
}

/** The properties of the content that hold one level each. */
export const LEVEL_KEYS = [
  "users_default",
  "events_default",
  "state_default",
  "ban",
  "redact",
  "kick",
  "invite",
] as const;

const NOTIFICATION_DEFAULT = 50;

/**
 * Reads the power levels of a room.
 *
 * @param content of the current `m.room.power_levels` event; undefined where the room has none
 * @param create the room's `m.room.create` event; undefined where it is not known
 */
export function readPowerLevels(
  content: JsonObject | undefined,
  create: CreateEvent | undefined,
  rules: PowerLevelRules,
): PowerLevels {
  const creators = new Set(create === undefined ? [] : creatorsOf(create, rules));
  const level = (key: string, fallback: number): number => levelAt(content, key, rules) ?? fallback;
  const usersDefault = level("users_default", 0);

  return {
    powerOf(userId) {
      if (creators.has(userId)) {
        if (rules.privilegedCreators) return Infinity;
        if (content === undefined) return 100;
      }
      return levelAt(memberOf(content, "users"), userId, rules) ?? usersDefault;
    },
    levelFor(type, isState) {
      const fallback = isState ? level("state_default", 50) : level("events_default", 0);
      return levelAt(memberOf(content, "events"), type, rules) ?? fallback;
    },
    notificationLevel: (key) =>
      levelAt(memberOf(content, "notifications"), key, rules) ?? NOTIFICATION_DEFAULT,
    ban: level("ban", 50),
    invite: level("invite", 0),
    kick: level("kick", 50),
    redact: level("redact", 50),
  };
}

/**
 * The users that created a room: one up to version 11, one or more from 12 on.
 *
 * Entries of `additional_creators` that are no strings are passed over.
 */
export function creatorsOf(create: CreateEvent, rules: PowerLevelRules): string[] {
  if (rules.creatorInContent) {
    const creator = memberOf(create.content, "creator");
    return typeof creator === "string" ? [creator] : [];
  }
  const additional = rules.privilegedCreators
    ? memberOf(create.content, "additional_creators")
    : undefined;
  if (!Array.isArray(additional)) return [create.sender];
  return [create.sender, ...additional.filter((user) => typeof user === "string")];
}

/** The level that an object holds under a key; undefined where it holds none. */
export function levelAt(object: unknown, key: string, rules: PowerLevelRules): number | undefined {
  return readLevel(memberOf(object, key), rules);
}

/**
 * Reads one level.
 *
 * @returns undefined for what is no level in this version: null, an object, a string from 10 on
 */
export function readLevel(value: unknown, rules: PowerLevelRules): number | undefined {
  if (value instanceof JsonNumber && rules.strictCanonicalJson) return undefined;
  const number = numberOf(value);
  if (number !== undefined) return boundedLevel(number, rules);
  if (typeof value !== "string" || rules.integerPowerLevels) return undefined;
  const digits = /^[+-]?\d+$/.exec(value.trim());
  return digits === null ? undefined : boundedLevel(Number(digits[0]), rules);
}

/** Versions 1-5 cut fractions off and know no bound but that of a double. */
function boundedLevel(value: number, rules: PowerLevelRules): number | undefined {
  if (rules.strictCanonicalJson) return Number.isSafeInteger(value) ? value : undefined;
  return Number.isFinite(value) ? Math.trunc(value) : undefined;
}

/** A number as a double; undefined for what is no number. */
export function numberOf(value: unknown): number | undefined {
  if (value instanceof JsonNumber) return value.valueOf();
  return typeof value === "number" ? value : undefined;
}

/** A member of what may be no object; never what an object inherits. */
export function memberOf(object: unknown, key: string): unknown {
  return isObject(object) && Object.hasOwn(object, key) ? object[key] : undefined;
}
