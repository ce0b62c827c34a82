/** Tokens with which accounts can be made: https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration */
import { MatrixError } from "../../spec/errors.ts";
import { isOpaqueIdentifier } from "../../spec/opaque-identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as registrationTokens from "../../storage/registration-tokens.ts";
import type { RegistrationToken } from "../../storage/registration-tokens.ts";
import type { Random } from "./tokens.ts";

const TOKEN_BYTES = 18;
const MAX_TOKEN_CHARS = 64;

export class RegistrationTokens {
  readonly #database: Pick<Database, "db">;
  readonly #clock: () => number;
  readonly #random: Random;

  constructor(options: { database: Pick<Database, "db">; clock: () => number; random: Random }) {
    this.#database = options.database;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  /**
   * Makes a token.
   *
   * @param wanted the token itself, by default a random one; how often it can be used, by default any
   *   number of times; until when, in ms since the epoch, by default forever
   * @throws MatrixError M_INVALID_PARAM for a token that is taken or is no token
   */
  async create(
    wanted: {
      token?: string | undefined;
      usesAllowed?: number | undefined;
      expiresTs?: number | undefined;
    } = {},
  ): Promise<string> {
    const token = wanted.token ?? this.#random(TOKEN_BYTES).toString("base64url");
    if (!isOpaqueIdentifier(token, MAX_TOKEN_CHARS)) {
      throw new MatrixError("M_INVALID_PARAM", "a token has 1 to 64 of A-Z a-z 0-9 . _ ~ - only");
    }
    const isAdded = await this.#database.db.transaction().execute((tx) =>
      registrationTokens.add(tx, {
        token,
        uses_allowed: wanted.usesAllowed ?? null,
        expires_ts: wanted.expiresTs ?? null,
        created_ts: this.#clock(),
      }),
    );
    if (!isAdded) throw new MatrixError("M_INVALID_PARAM", "there is such a token already");
    return token;
  }

  /** Whether an account can be made with a token now. */
  async isUsable(token: string): Promise<boolean> {
    if (!isOpaqueIdentifier(token, MAX_TOKEN_CHARS)) return false;
    const row = await registrationTokens.find(this.#database.db, token);
    return (
      row !== undefined &&
      (row.uses_allowed === null || row.completed < row.uses_allowed) &&
      (row.expires_ts === null || row.expires_ts > this.#clock())
    );
  }

  /** Oldest first. */
  list(): Promise<RegistrationToken[]> {
    return registrationTokens.list(this.#database.db);
  }

  /** @returns false where there was no such token */
  remove(token: string): Promise<boolean> {
    return this.#database.db.transaction().execute((tx) => registrationTokens.remove(tx, token));
  }
}
