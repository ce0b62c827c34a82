/** What users of ours may do, in memory: asked with each event that somebody sends. */
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import * as accounts from "../../storage/accounts.ts";
import type { Database } from "../../storage/database.ts";
import type { Stream } from "../stream/stream.ts";
import { UserCache } from "./user-cache.ts";
import { lockedError, refuseSuspended } from "./guards.ts";

interface UserRights {
  readonly userId: UserId;
  readonly isAdmin: boolean;
  readonly isSuspended: boolean;
  readonly isLocked: boolean;
  readonly isDeactivated: boolean;
}

/** It needs nothing of rooms, which need it. */
export class Rights implements Disposable {
  readonly #database: Pick<Database, "db">;
  readonly #cache: UserCache<UserRights>;

  constructor(options: { database: Pick<Database, "db">; stream: Pick<Stream, "subscribe"> }) {
    this.#database = options.database;
    this.#cache = new UserCache(options.stream);
  }

  /**
   * Refuses who may not act, whatever way the request came.
   *
   * @param act `evenSuspended` for what a suspended user may do
   * @throws MatrixError M_USER_SUSPENDED, M_USER_LOCKED, M_USER_DEACTIVATED, M_FORBIDDEN where there is
   *   no such user
   */
  async assertMayAct(userId: UserId, act: { evenSuspended?: boolean } = {}): Promise<void> {
    const rights = await this.#find(userId);
    if (rights === undefined) throw new MatrixError("M_FORBIDDEN", "There is no such user here");
    if (rights.isDeactivated) {
      throw new MatrixError("M_USER_DEACTIVATED", "The account has been deactivated");
    }
    if (rights.isLocked) throw lockedError();
    if (act.evenSuspended !== true) refuseSuspended(rights);
  }

  async isAdmin(userId: UserId): Promise<boolean> {
    return (await this.#find(userId))?.isAdmin === true;
  }

  async #find(userId: UserId): Promise<UserRights | undefined> {
    const known = this.#cache.get(userId);
    return known ?? this.#cache.load(userId, () => this.#read(userId));
  }

  async #read(userId: UserId): Promise<UserRights | undefined> {
    const row = await accounts.find(this.#database.db, userId);
    return (
      row && {
        userId,
        isAdmin: row.is_admin,
        isSuspended: row.is_suspended,
        isLocked: row.is_locked,
        isDeactivated: row.is_deactivated,
      }
    );
  }

  [Symbol.dispose](): void {
    this.#cache[Symbol.dispose]();
  }
}
