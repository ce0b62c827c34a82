/** Tokens that prove to third parties who a user is: https://spec.matrix.org/v1.19/client-server-api/#openid */
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as shortLivedTokens from "../../storage/short-lived-tokens.ts";
import { hashOf, isToken, newToken, type Random } from "./tokens.ts";

const LIFETIME_S = 3600;
/** Most tokens of a user at once. */
const MAX_TOKENS = 200;

export class OpenId {
  readonly #database: Pick<Database, "db">;
  readonly #clock: () => number;
  readonly #random: Random;

  constructor(options: { database: Pick<Database, "db">; clock: () => number; random: Random }) {
    this.#database = options.database;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  async createToken(userId: UserId): Promise<{
    access_token: string;
    token_type: "Bearer";
    matrix_server_name: string;
    expires_in: number;
  }> {
    const token = newToken("openid", this.#random);
    const expires_ts = this.#clock() + LIFETIME_S * 1000;
    const row = { token_hash: hashOf(token), user_id: userId, expires_ts };
    await this.#database.db
      .transaction()
      .execute((tx) => shortLivedTokens.addOpenId(tx, row, MAX_TOKENS));
    return {
      access_token: token,
      token_type: "Bearer",
      matrix_server_name: serverNameOf(userId),
      expires_in: LIFETIME_S,
    };
  }

  /** Whose a token is; undefined where it is unknown or has expired. */
  async find(token: string): Promise<UserId | undefined> {
    if (!isToken("openid", token)) return undefined;
    return shortLivedTokens.findOpenId(this.#database.db, hashOf(token), this.#clock());
  }
}
