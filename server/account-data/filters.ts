/** Filters that users upload: https://spec.matrix.org/v1.19/client-server-api/#filtering */
import { canonicalJson } from "../../spec/canonical-json.ts";
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import * as filters from "../../storage/filters.ts";
import { sha256 } from "../secrets.ts";

const ID_CHARS = 22;
/** Clients upload the same few again and again. */
const MAX_FILTERS = 1_000;

export class Filters {
  readonly #database: Pick<Database, "db">;

  constructor(database: Pick<Database, "db">) {
    this.#database = database;
  }

  /**
   * @param definition read through its shape before
   * @returns the filter's ID, the same for the same definition
   * @throws MatrixError M_FORBIDDEN for too many
   */
  async add(userId: UserId, definition: JsonObject): Promise<string> {
    const { db } = this.#database;
    const text = canonicalJson(definition, { numbers: "lossless" });
    const filterId = sha256(text).toString("base64url").slice(0, ID_CHARS);
    if ((await filters.find(db, userId, filterId)) !== undefined) return filterId;
    if ((await filters.count(db, userId)) >= MAX_FILTERS) {
      throw new MatrixError("M_FORBIDDEN", `a user has at most ${MAX_FILTERS} filters`);
    }
    await db
      .transaction()
      .execute((tx) => filters.add(tx, { user_id: userId, filter_id: filterId, definition }));
    return filterId;
  }

  find(userId: UserId, filterId: string): Promise<JsonObject | undefined> {
    return filters.find(this.#database.db, userId, filterId);
  }
}
