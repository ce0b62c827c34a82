/** What users set that decides of what they are notified: push rules, compiled, and whom they ignore. */
import { LRUCache } from "lru-cache";
import type { UserId } from "../../spec/identifiers.ts";
import { type CompiledPushRules, compilePushRules } from "../../spec/push-evaluation.ts";
import { NO_USER_RULES, RULE_KINDS, type UserPushRules } from "../../spec/push-rules.ts";
import { isObject } from "../../spec/shape.ts";
import { parseStored } from "../../spec/strict-json.ts";
import type { Database } from "../../storage/database.ts";
import * as storedRules from "../../storage/push-rules.ts";
import { readRules } from "../push-rules/push-rules.ts";

export interface RuleSet {
  readonly rules: CompiledPushRules;
  /** Whether a rule asks for the user's display name. */
  readonly asksName: boolean;
}

export interface UserSettings {
  readonly ruleSet: RuleSet;
  readonly ignored: ReadonlySet<unknown>;
}

const NOBODY: ReadonlySet<unknown> = new Set();
const DEFAULT_RULES = compile(NO_USER_RULES);
/** Of who set nothing: one for all. */
const DEFAULT_SETTINGS: UserSettings = { ruleSet: DEFAULT_RULES, ignored: NOBODY };

const CACHED_USERS = 200_000;
/** Characters of rules that are kept compiled. */
const CACHED_RULES = 32 * 1024 * 1024;

export class RuleSets {
  readonly #db: Database["db"];
  readonly #users = new LRUCache<UserId, UserSettings>({ max: CACHED_USERS });
  /** By their text, so that users with the same rules share them. */
  readonly #compiled = new LRUCache<string, RuleSet>({
    maxSize: CACHED_RULES,
    sizeCalculation: (_, text) => text.length + 1000,
  });

  constructor(database: Pick<Database, "db">) {
    this.#db = database.db;
  }

  /** The settings of users, one query for all that are not known. */
  async of(userIds: Iterable<UserId>): Promise<Map<UserId, UserSettings>> {
    const found = new Map<UserId, UserSettings>();
    const missing: UserId[] = [];
    for (const userId of userIds) {
      const settings = this.#users.get(userId);
      if (settings === undefined) missing.push(userId);
      else found.set(userId, settings);
    }
    if (missing.length === 0) return found;
    const rows = await storedRules.listSettings(this.#db, missing);
    for (const userId of missing) found.set(userId, DEFAULT_SETTINGS);
    for (const { user_id: userId, rules, ignored } of rows) {
      found.set(userId, {
        ruleSet: rules === null ? DEFAULT_RULES : this.#compile(rules),
        ignored: ignored === null ? NOBODY : readIgnored(userId, ignored),
      });
    }
    for (const userId of missing) this.#users.set(userId, found.get(userId) ?? DEFAULT_SETTINGS);
    return found;
  }

  /** Forgets what has changed. */
  forget(userId: UserId): void {
    this.#users.delete(userId);
  }

  #compile(text: string): RuleSet {
    let ruleSet = this.#compiled.get(text);
    if (ruleSet === undefined) this.#compiled.set(text, (ruleSet = compile(readRules(text))));
    return ruleSet;
  }
}

function compile(user: UserPushRules): RuleSet {
  return {
    rules: compilePushRules(user),
    asksName: RULE_KINDS.some((kind) =>
      user.rules[kind].some((rule) =>
        rule.conditions?.some((condition) => condition.kind === "contains_display_name"),
      ),
    ),
  };
}

/** Nobody ignores themselves. */
function readIgnored(userId: UserId, content: string): ReadonlySet<unknown> {
  const list = parseStored(content);
  const users = isObject(list) ? list["ignored_users"] : undefined;
  if (!isObject(users)) return NOBODY;
  return new Set(Object.keys(users).filter((ignored) => ignored !== userId));
}
