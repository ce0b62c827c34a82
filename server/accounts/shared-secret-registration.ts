/**
 * Making accounts with a shared secret, as tools like `register_new_matrix_user` do:
 * a nonce is asked for, and the request bears a MAC over it, the name, the password and the rights.
 */
import { createHmac } from "node:crypto";
import { MatrixError } from "../../spec/errors.ts";
import type { Database } from "../../storage/database.ts";
import * as shortLivedTokens from "../../storage/short-lived-tokens.ts";
import { addressKey, type RateLimits } from "../rate-limits/rate-limits.ts";
import { isSameSecret, sha256 } from "../secrets.ts";
import type { Accounts } from "./lifecycle.ts";
import type { LoggedIn, Sessions } from "./sessions.ts";
import type { Random } from "./tokens.ts";

export interface SharedSecretOptions {
  /** Undefined: nobody can. */
  secret: string | undefined;
  database: Pick<Database, "db">;
  accounts: Pick<Accounts, "create" | "checkNew">;
  sessions: Pick<Sessions, "logIn">;
  rateLimits: Pick<RateLimits, "take">;
  clock: () => number;
  random: Random;
}

export interface SharedSecretRequest {
  nonce: string;
  username: string;
  password: string;
  displayname?: string | undefined;
  admin: boolean;
  user_type?: string | undefined;
  mac: string;
}

const LIFETIME_MS = 60_000;
const NONCE = /^(\d{1,15})\.([\w-]{43})\.([0-9a-f]{64})$/;

export class SharedSecretRegistration {
  readonly #options: SharedSecretOptions;

  constructor(options: SharedSecretOptions) {
    this.#options = options;
  }

  /** A nonce that is good once and for a minute. It proves itself that it is ours, so none is stored. */
  createNonce(): string {
    const { clock, random } = this.#options;
    const body = `${clock() + LIFETIME_MS}.${random(32).toString("base64url")}`;
    return `${body}.${this.#sign(body)}`;
  }

  /**
   * @throws MatrixError M_FORBIDDEN for a wrong MAC or where there is no secret, M_INVALID_PARAM for a
   *   nonce that is not ours, expired or used; what making an account throws
   */
  async register(
    request: SharedSecretRequest,
    from: { clientAddress: string; userAgent: string },
  ): Promise<LoggedIn> {
    const { database, accounts, sessions, rateLimits } = this.#options;
    const expiresTs = this.#readNonce(request.nonce);
    if (!isSameSecret(this.#macOf(request), request.mac.toLowerCase())) {
      await rateLimits.take("rc_registration", addressKey(from.clientAddress));
      throw new MatrixError("M_FORBIDDEN", "The MAC is wrong");
    }
    const { username, password, admin, displayname } = request;
    await accounts.checkNew(username, password);
    const isFirst = await database.db.transaction().execute((tx) =>
      shortLivedTokens.addUsedNonce(tx, {
        nonce_hash: sha256(request.nonce),
        expires_ts: expiresTs,
      }),
    );
    if (!isFirst) throw badNonce();
    const userId = await accounts.create({
      username,
      password,
      isAdmin: admin,
      displayName: displayname,
    });
    return sessions.logIn(userId, from);
  }

  /** @returns when it expires */
  #readNonce(nonce: string): number {
    const [, expires = "", secret = "", signature = ""] = NONCE.exec(nonce) ?? [];
    if (!isSameSecret(this.#sign(`${expires}.${secret}`), signature)) throw badNonce();
    if (Number(expires) <= this.#options.clock()) throw badNonce();
    return Number(expires);
  }

  #sign(nonce: string): string {
    return createHmac("sha256", this.#secret()).update(`nonce ${nonce}`).digest("hex");
  }

  /** SHA-1 and this order are what the tools know. */
  #macOf({ nonce, username, password, admin, user_type }: SharedSecretRequest): string {
    const parts = [nonce, username, password, admin ? "admin" : "notadmin"];
    if (user_type !== undefined) parts.push(user_type);
    return createHmac("sha1", this.#secret()).update(parts.join("\0")).digest("hex");
  }

  #secret(): string {
    const { secret } = this.#options;
    if (secret !== undefined) return secret;
    throw new MatrixError("M_FORBIDDEN", "Registration with a shared secret is not enabled");
  }
}

function badNonce(): MatrixError {
  return new MatrixError("M_INVALID_PARAM", "The nonce is not ours, has expired or was used");
}
