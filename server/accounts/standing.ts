/** What accounts may do, as far as their own state says: kept in memory, and forgotten by the stream. */
import { LRUCache } from "lru-cache";
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import * as accounts from "../../storage/accounts.ts";
import type { Account } from "../../storage/accounts.ts";
import type { Database } from "../../storage/database.ts";
import type { Stream } from "../stream/stream.ts";
import { lockedError, refuseSuspended } from "./guards.ts";

const KEPT = 100_000;

export class Standing implements Disposable {
  readonly #database: Pick<Database, "db">;
  readonly #kept = new LRUCache<UserId, { account: Account | undefined }>({ max: KEPT });
  /** Grows when anything is forgotten: what was being read meanwhile may be old. */
  #changes = 0;
  readonly #unsubscribe: () => void;

  constructor(deps: { database: Pick<Database, "db">; stream: Pick<Stream, "subscribe"> }) {
    this.#database = deps.database;
    this.#unsubscribe = deps.stream.subscribe((entries) => {
      for (const { kind, userId } of entries) {
        if (kind !== "session" || userId === undefined) continue;
        this.#changes += 1;
        this.#kept.delete(userId);
      }
    });
  }

  /** @throws MatrixError M_USER_SUSPENDED, M_USER_LOCKED, M_USER_DEACTIVATED, M_FORBIDDEN */
  async assertMayAct(userId: UserId): Promise<void> {
    const account = await this.#find(userId);
    if (account === undefined) throw new MatrixError("M_FORBIDDEN", "no account of this server");
    if (account.is_deactivated) {
      throw new MatrixError("M_USER_DEACTIVATED", "the account has been deactivated");
    }
    if (account.is_locked) throw lockedError();
    refuseSuspended({ isSuspended: account.is_suspended });
  }

  async isAdmin(userId: UserId): Promise<boolean> {
    return (await this.#find(userId))?.is_admin === true;
  }

  async #find(userId: UserId): Promise<Account | undefined> {
    const kept = this.#kept.get(userId);
    if (kept !== undefined) return kept.account;
    const before = this.#changes;
    const account = await accounts.find(this.#database.db, userId);
    if (before === this.#changes) this.#kept.set(userId, { account });
    return account;
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}
