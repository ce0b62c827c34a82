/** Rule 10 of the authorisation rules, on `m.room.power_levels`, numbered as in version 12. */
import { ALLOW, type AuthRules, reject, type Verdict } from "./authorisation.ts";
import { isUserId } from "./identifiers.ts";
import {
  type CreateEvent,
  creatorsOf,
  LEVEL_KEYS,
  levelAt,
  memberOf,
  numberOf,
  readLevel,
} from "./power-levels.ts";
import { isObject, type JsonObject } from "./shape.ts";

interface PowerLevelsQuestion {
  /** The content of the event. */
  readonly proposed: JsonObject;
  /** The content of the room's `m.room.power_levels` event, if it has one. */
  readonly current: JsonObject | undefined;
  readonly create: CreateEvent;
  readonly sender: string;
  readonly rules: AuthRules;
  /** The sender's current power level. */
  readonly power: number;
}

export function powerLevelsVerdict(question: PowerLevelsQuestion): Verdict {
  const malformed = contentVerdict(question);
  if (!malformed.allowed) return malformed;
  // 10.5
  if (question.current === undefined) return ALLOW;
  return changesVerdict({ ...question, current: question.current });
}

/** 10.1 to 10.4: what the content has to look like. */
function contentVerdict({ proposed, create, rules }: PowerLevelsQuestion): Verdict {
  // 10.1
  for (const key of LEVEL_KEYS) {
    const value = memberOf(proposed, key);
    if (value === undefined) continue;
    if (rules.integerPowerLevels && readLevel(value, rules) === undefined) {
      return reject("10.1", `${key} is not an integer`);
    }
  }
  // 10.2
  for (const key of ["events", "notifications"]) {
    const value = memberOf(proposed, key);
    if (value === undefined) continue;
    if (rules.integerPowerLevels && !holdsLevels(value, rules)) {
      return reject("10.2", `${key} is not an object of integers`);
    }
  }
  // 10.3
  const users = memberOf(proposed, "users");
  if (users !== undefined && !(holdsLevels(users, rules) && Object.keys(users).every(isUserId))) {
    return reject("10.3", "users is not an object of user IDs with integers");
  }
  // Versions 1-5 reject numbers beyond a double, wherever they stand
  if (!rules.strictCanonicalJson && holdsInfinity(proposed)) {
    return reject("v1:floats", "a power level is beyond the range of a double");
  }
  // 10.4
  if (rules.privilegedCreators) {
    const named = creatorsOf(create, rules).some((id) => memberOf(users, id) !== undefined);
    if (named) return reject("10.4", "users names a creator of the room");
  }
  return ALLOW;
}

/** 10.6 to 10.10: what the sender may change. */
function changesVerdict(question: PowerLevelsQuestion & { current: JsonObject }): Verdict {
  const { proposed, current, sender, rules, power } = question;
  // 10.6
  for (const change of changesOf(current, proposed, LEVEL_KEYS, rules)) {
    // 10.6.1
    if (change.from !== undefined && change.from > power) {
      return reject("10.6.1", `${change.key} is above the sender's power level`);
    }
    // 10.6.2
    if (change.to !== undefined && change.to > power) {
      return reject("10.6.2", `${change.key} is set above the sender's power level`);
    }
  }
  const maps = rules.notificationLevelsAuthRule ? ["events", "notifications"] : ["events"];
  for (const map of maps) {
    for (const change of mapChanges(current, proposed, map, rules)) {
      // 10.7
      if (change.from !== undefined && change.from > power) {
        return reject("10.7.1", `an entry of ${map} is above the sender's power level`);
      }
      // 10.8
      if (change.to !== undefined && change.to > power) {
        return reject("10.8.1", `an entry of ${map} is set above the sender's power level`);
      }
    }
  }
  for (const change of mapChanges(current, proposed, "users", rules)) {
    // 10.9
    if (change.key !== sender && change.from !== undefined && change.from >= power) {
      return reject("10.9.1", "a user's level is not below the sender's power level");
    }
    // 10.10
    if (change.to !== undefined && change.to > power) {
      return reject("10.10.1", "a user is set above the sender's power level");
    }
  }
  // 10.11
  return ALLOW;
}

/** A level that was added (without `from`), changed, or removed (without `to`). */
interface Change {
  readonly key: string;
  readonly from: number | undefined;
  readonly to: number | undefined;
}

function mapChanges(from: JsonObject, to: JsonObject, map: string, rules: AuthRules): Change[] {
  const before = memberOf(from, map);
  const after = memberOf(to, map);
  const keys = new Set([...keysOf(before), ...keysOf(after)]);
  return changesOf(before, after, keys, rules);
}

/** Levels are compared as they are read: `"50"` and `50` are one, and null is no level. */
function changesOf(from: unknown, to: unknown, keys: Iterable<string>, rules: AuthRules): Change[] {
  const changes: Change[] = [];
  for (const key of keys) {
    const change = { key, from: levelAt(from, key, rules), to: levelAt(to, key, rules) };
    if (change.from !== change.to) changes.push(change);
  }
  return changes;
}

function keysOf(value: unknown): string[] {
  return isObject(value) ? Object.keys(value) : [];
}

function holdsLevels(value: unknown, rules: AuthRules): value is JsonObject {
  return (
    isObject(value) && Object.values(value).every((level) => readLevel(level, rules) !== undefined)
  );
}

function holdsInfinity(content: JsonObject): boolean {
  const maps = ["events", "notifications"].map((map) => memberOf(content, map));
  const levels = [
    ...LEVEL_KEYS.map((key) => memberOf(content, key)),
    ...maps.flatMap((map) => (isObject(map) ? Object.values(map) : [])),
  ];
  return levels.some((level) => numberOf(level) !== undefined && !Number.isFinite(numberOf(level)));
}
