/** Logging in: https://spec.matrix.org/v1.19/client-server-api/#legacy-login */
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as shortLivedTokens from "../../storage/short-lived-tokens.ts";
import type { Credentials, Identifier } from "./credentials.ts";
import type { LoggedIn, LoginRequest, Sessions } from "./sessions.ts";
import { hashOf, isToken, newToken, type Random } from "./tokens.ts";

export interface LoginsOptions {
  database: Pick<Database, "db">;
  credentials: Credentials;
  sessions: Sessions;
  clock: () => number;
  random: Random;
}

/** Time in ms for which a login token is good: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token */
const LOGIN_TOKEN_LIFETIME_MS = 120_000;

export class Logins {
  readonly #options: LoginsOptions;

  constructor(options: LoginsOptions) {
    this.#options = options;
  }

  /** Whether users of ours have passwords. */
  get passwordsEnabled(): boolean {
    return this.#options.credentials.passwordsEnabled;
  }

  /** @throws MatrixError M_FORBIDDEN, M_LIMIT_EXCEEDED */
  async withPassword(
    identifier: Identifier,
    password: string,
    request: LoginRequest,
  ): Promise<LoggedIn> {
    const { credentials, sessions } = this.#options;
    const { user_id, password_hash } = await credentials.check(identifier, password);
    return sessions.logIn(user_id, { ...request, passwordHash: password_hash });
  }

  /** @throws MatrixError M_FORBIDDEN for a token that is unknown, expired or used */
  async withToken(token: string, request: LoginRequest): Promise<LoggedIn> {
    const { database, sessions, clock } = this.#options;
    const userId = !isToken("login", token)
      ? undefined
      : await database.db
          .transaction()
          .execute((tx) => shortLivedTokens.takeLogin(tx, hashOf(token), clock()));
    if (userId === undefined) throw new MatrixError("M_FORBIDDEN", "Invalid login token");
    return sessions.logIn(userId, request);
  }

  /** A token that logs in once, as its user. */
  async createToken(userId: UserId): Promise<{ login_token: string; expires_in_ms: number }> {
    const { database, clock, random } = this.#options;
    const token = newToken("login", random);
    await database.db.transaction().execute((tx) =>
      shortLivedTokens.addLogin(tx, {
        token_hash: hashOf(token),
        user_id: userId,
        expires_ts: clock() + LOGIN_TOKEN_LIFETIME_MS,
      }),
    );
    return { login_token: token, expires_in_ms: LOGIN_TOKEN_LIFETIME_MS };
  }
}
