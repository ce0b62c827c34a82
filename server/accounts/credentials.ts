/** Who somebody says they are, and whether their password is right. */
import { MatrixError } from "../../spec/errors.ts";
import { isUserId, serverNameOf, type UserId } from "../../spec/identifiers.ts";
import * as accounts from "../../storage/accounts.ts";
import type { Account } from "../../storage/accounts.ts";
import type { Database } from "../../storage/database.ts";
import type { RateLimits } from "../rate-limits/rate-limits.ts";
import type { Passwords } from "./passwords.ts";

/** How somebody says who they are: https://spec.matrix.org/v1.19/client-server-api/#identifier-types */
export type Identifier =
  | { type: "m.id.user"; user: string }
  /** By an address or phone number, which no account of ours has. */
  | { type: "m.id.thirdparty" | "m.id.phone" };

export interface CredentialsOptions {
  database: Pick<Database, "db">;
  passwords: Passwords;
  rateLimits: Pick<RateLimits, "take">;
  /** The domain of a user who is named by the localpart only. */
  serverName: string;
  isLocal(serverName: string): boolean;
  /** False where no password opens an account. */
  passwordsEnabled: boolean;
}

export class Credentials {
  readonly #options: CredentialsOptions;

  constructor(options: CredentialsOptions) {
    this.#options = options;
  }

  get passwordsEnabled(): boolean {
    return this.#options.passwordsEnabled;
  }

  /** The user that somebody means; undefined where it cannot be one of ours. */
  resolve(identifier: Identifier): UserId | undefined {
    if (identifier.type !== "m.id.user") return undefined;
    const { user } = identifier;
    const full = user.startsWith("@") ? user : `@${user}:${this.#options.serverName}`;
    return isUserId(full) && this.#options.isLocal(serverNameOf(full)) ? full : undefined;
  }

  /**
   * Checks a password. It takes as long for a user who does not exist.
   *
   * @returns the account, which may be locked
   * @throws MatrixError M_FORBIDDEN,
   *   M_LIMIT_EXCEEDED after too many failures
   */
  async check(identifier: Identifier, password: string): Promise<Account> {
    const { passwords, rateLimits } = this.#options;
    const userId = this.resolve(identifier);
    const limitKey = (userId ?? JSON.stringify(identifier).slice(0, 300)).toLowerCase();
    await rateLimits.take("rc_login.account", limitKey);
    // Taken before and given back after, so that parallel attempts are counted too.
    await rateLimits.take("rc_login.failed_attempts", limitKey);
    const account = userId === undefined ? undefined : await this.#find(userId);
    const hash = this.#options.passwordsEnabled ? account?.password_hash : undefined;
    const { isRight, isOutdated } = await passwords.verify(password, hash);
    if (!isRight || account === undefined || hash === null || hash === undefined) {
      throw new MatrixError("M_FORBIDDEN", "Invalid username or password");
    }
    await rateLimits.take("rc_login.failed_attempts", limitKey, -1);
    return isOutdated ? this.#renew(account, hash, password) : account;
  }

  /** Hashes a password again, since hashes made today cost more to guess. */
  async #renew(account: Account, before: string, password: string): Promise<Account> {
    const renewed = await this.#options.passwords.hash(password);
    const isReplaced = await this.#options.database.db
      .transaction()
      .execute((tx) => accounts.replacePasswordHash(tx, account.user_id, before, renewed));
    return isReplaced ? { ...account, password_hash: renewed } : account;
  }

  /** Names of new accounts are in small letters, whatever people type. */
  async #find(userId: UserId): Promise<Account | undefined> {
    const { db } = this.#options.database;
    const exact = await accounts.find(db, userId);
    const lower = userId.toLowerCase() as UserId;
    return exact ?? (lower === userId ? undefined : accounts.find(db, lower));
  }
}
