/** Push rules of users: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api */
import type { UserId } from "../../spec/identifiers.ts";
import {
  NO_USER_RULES,
  type NewRule,
  putRule,
  removeRule,
  type RuleKind,
  type Ruleset,
  rulesetOf,
  setRuleActions,
  setRuleEnabled,
  type UserPushRules,
} from "../../spec/push-rules.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { parseStored } from "../../spec/strict-json.ts";
import type { Database } from "../../storage/database.ts";
import * as pushRules from "../../storage/push-rules.ts";
import type { AccountDatum, GeneratedAccountData } from "../account-data/account-data.ts";
import { ConflictError, type Stream } from "../stream/stream.ts";

export const PUSH_RULES = "m.push_rules";

/** What an entry of the stream holds; readers look for larger rules in the table. */
const MAX_ENTRY_BYTES = 60 * 1024;
const MAX_ATTEMPTS = 20;

/** Account data as `/sync` reads it. */
interface ListedAccountData {
  list(userId: UserId, changed?: { after: number; upTo: number }): Promise<AccountDatum[]>;
}

export class PushRules {
  readonly #database: Pick<Database, "db">;
  readonly #stream: Pick<Stream, "append">;
  /** The rules as account data, which is there though nobody has set it. */
  readonly generated: GeneratedAccountData = {
    type: PUSH_RULES,
    get: async (userId) => contentOf(await this.get(userId)),
  };

  constructor(options: { database: Pick<Database, "db">; stream: Pick<Stream, "append"> }) {
    this.#database = options.database;
    this.#stream = options.stream;
  }

  /** All rules of a user, those of the server included. */
  async get(userId: UserId): Promise<Ruleset> {
    return rulesetOf((await this.#find(userId)).rules, userId);
  }

  /** Adds a rule, or changes one. @throws MatrixError as `putRule` of spec/push-rules.ts */
  put(userId: UserId, rule: NewRule): Promise<void> {
    return this.#change(userId, (rules) => putRule(rules, rule));
  }

  /** @throws MatrixError M_NOT_FOUND */
  remove(userId: UserId, kind: RuleKind, ruleId: string): Promise<void> {
    return this.#change(userId, (rules) => removeRule(rules, kind, ruleId));
  }

  /** @throws MatrixError M_NOT_FOUND */
  setEnabled(userId: UserId, kind: RuleKind, ruleId: string, isEnabled: boolean): Promise<void> {
    return this.#change(userId, (rules) => setRuleEnabled(rules, kind, ruleId, isEnabled));
  }

  /** @throws MatrixError M_NOT_FOUND, or as `setRuleActions` of spec/push-rules.ts */
  setActions(userId: UserId, kind: RuleKind, ruleId: string, actions: unknown): Promise<void> {
    return this.#change(userId, (rules) => setRuleActions(rules, kind, ruleId, actions));
  }

  /** Other account data with the rules among what has changed. */
  among(accountData: ListedAccountData): ListedAccountData {
    return {
      list: async (userId, changed) => {
        const data = await accountData.list(userId, changed);
        if (changed === undefined) return data;
        const { rules, position } = await this.#find(userId);
        if (position === undefined || position <= changed.after || position > changed.upTo) {
          return data;
        }
        return [...data, { type: PUSH_RULES, content: contentOf(rulesetOf(rules, userId)) }];
      },
    };
  }

  async #find(userId: UserId): Promise<{ rules: UserPushRules; position: number | undefined }> {
    const row = await pushRules.find(this.#database.db, userId);
    return row === undefined
      ? { rules: NO_USER_RULES, position: undefined }
      : { rules: readRules(row.rules), position: row.position };
  }

  /** Changes the rules; what others change meanwhile is kept. */
  async #change(userId: UserId, change: (rules: UserPushRules) => UserPushRules): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const { rules: before, position: beforeAt } = await this.#find(userId);
      const rules = change(before);
      const text = JSON.stringify(rules);
      if (text === JSON.stringify(before)) return;
      const content = contentOf(rulesetOf(rules, userId));
      const isLarge = Buffer.byteLength(JSON.stringify(content)) > MAX_ENTRY_BYTES;
      const data = isLarge ? { type: PUSH_RULES } : { type: PUSH_RULES, content };
      try {
        await this.#stream.append({
          entries: [{ kind: "account_data", userId, data }],
          async write(tx, [position = 0]) {
            const row = { user_id: userId, rules: text, position };
            if (!(await pushRules.replace(tx, row, beforeAt))) {
              throw new ConflictError("the push rules have changed");
            }
          },
        });
        return;
      } catch (error) {
        if (!(error instanceof ConflictError) || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }
}

/** Rules as they were stored. */
export function readRules(text: string): UserPushRules {
  // Only what `#change` wrote.
  return parseStored(text) as UserPushRules;
}

function contentOf(global: Ruleset): JsonObject {
  return { global };
}
