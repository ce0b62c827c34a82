/** The life of an account: made, changed, locked, suspended, deactivated. */
import { setTimeout as sleep } from "node:timers/promises";
import { MatrixError } from "../../spec/errors.ts";
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import * as accountData from "../../storage/account-data.ts";
import * as accounts from "../../storage/accounts.ts";
import type { Account } from "../../storage/accounts.ts";
import type { Database } from "../../storage/database.ts";
import * as filters from "../../storage/filters.ts";
import * as profiles from "../../storage/profiles.ts";
import * as shortLivedTokens from "../../storage/short-lived-tokens.ts";
import type { Stream } from "../stream/stream.ts";
import type { Devices } from "./devices.ts";
import type { Passwords } from "./passwords.ts";
import { inUse, newUserId } from "./user-names.ts";

/** What accounts need of rooms. */
export interface AccountRooms {
  /** Leaves all rooms of a user, and rejects all invites and takes back all knocks. */
  leaveAllRooms(userId: UserId): Promise<void>;
}

export interface LifecycleOptions {
  database: Database;
  stream: Stream;
  /** The domain of new accounts. */
  serverName: string;
  isLocal(serverName: string): boolean;
  passwords: Passwords;
  devices: Devices;
  rooms: AccountRooms;
  clock: () => number;
  /** Is told of rooms that could not be left; it is tried again. */
  onError(error: unknown): void;
}

export interface NewAccount {
  /** The localpart. */
  username: string;
  password: string;
  isAdmin?: boolean;
  displayName?: string | undefined;
}

/** Time in ms that an answer waits until all rooms are left: somebody may be in thousands. */
const PATIENCE_MS = 3_000;

export class Accounts implements AsyncDisposable {
  readonly #options: LifecycleOptions;
  /** Leaving rooms, under way. */
  readonly #leaving = new Set<Promise<void>>();

  constructor(options: LifecycleOptions) {
    this.#options = options;
  }

  /**
   * Makes an account without asking who wants it.
   *
   * @throws MatrixError M_INVALID_USERNAME, M_USER_IN_USE, M_WEAK_PASSWORD
   */
  async create(account: NewAccount): Promise<UserId> {
    const { database, passwords, clock } = this.#options;
    const userId = await this.checkNew(account.username, account.password);
    const password_hash = await passwords.hash(account.password);
    await database.db.transaction().execute(async (tx) => {
      const isAdded = await accounts.add(tx, {
        user_id: userId,
        created_ts: clock(),
        password_hash,
        is_admin: account.isAdmin === true,
        is_guest: false,
      });
      if (!isAdded) throw inUse();
      if (account.displayName !== undefined) {
        // Nobody knows the user yet, so that nobody needs to hear of the name.
        const field = { field: "displayname", value: account.displayName, position: 0 };
        await profiles.put(tx, { user_id: userId, ...field });
      }
    });
    return userId;
  }

  /** @throws MatrixError M_INVALID_USERNAME, M_USER_IN_USE, M_WEAK_PASSWORD */
  async checkNew(username: string, password: string): Promise<UserId> {
    const userId = newUserId(username, this.#options.serverName);
    this.#options.passwords.check(password);
    if (await this.exists(userId)) throw inUse();
    return userId;
  }

  /** @throws MatrixError M_WEAK_PASSWORD for one that may not be set */
  checkPassword(password: string): void {
    this.#options.passwords.check(password);
  }

  find(userId: UserId): Promise<Account | undefined> {
    return accounts.find(this.#options.database.db, userId);
  }

  /** Whether a user ID was ever given out. */
  async exists(userId: UserId): Promise<boolean> {
    return (await this.find(userId)) !== undefined;
  }

  /** @throws MatrixError M_NOT_FOUND also where it was deactivated */
  async get(userId: UserId): Promise<Account> {
    const account = await this.find(userId);
    if (account === undefined || account.is_deactivated) {
      throw new MatrixError("M_NOT_FOUND", "User not found");
    }
    return account;
  }

  /** All accounts, in the order in which they were made. */
  async *list(pageSize = 500): AsyncGenerator<Account> {
    let after: Account | undefined;
    do {
      const page = await accounts.list(this.#options.database.db, { after, limit: pageSize });
      yield* page;
      after = page.length === pageSize ? page.at(-1) : undefined;
    } while (after !== undefined);
  }

  /**
   * Sets a password, and ends logins unless they are to stay.
   *
   * @param logOut the devices to log out: `all`, all but one, or none
   * @throws MatrixError M_WEAK_PASSWORD, M_NOT_FOUND
   */
  async setPassword(
    userId: UserId,
    password: string,
    logOut: "all" | "none" | { allBut: string | undefined },
  ): Promise<void> {
    const { passwords, devices } = this.#options;
    passwords.check(password);
    await this.get(userId);
    const password_hash = await passwords.hash(password);
    const which = logOut === "none" ? [] : logOut === "all" ? { allBut: undefined } : logOut;
    await devices.remove(userId, which, async (tx) => {
      const account = await accounts.lock(tx, userId);
      if (account === undefined || account.is_deactivated) {
        throw new MatrixError("M_NOT_FOUND", "User not found");
      }
      await accounts.update(tx, userId, { password_hash });
      if (logOut !== "none") await shortLivedTokens.removeOf(tx, userId);
    });
  }

  /** @throws MatrixError M_NOT_FOUND */
  async setRights(
    userId: UserId,
    rights: Partial<Pick<Account, "is_admin" | "is_locked" | "is_suspended">>,
  ): Promise<void> {
    await this.get(userId);
    await this.#options.stream.append({
      entries: [{ kind: "session", userId }],
      write: async (tx) => {
        await accounts.update(tx, userId, rights);
      },
    });
  }

  /**
   * Locks or suspends a user, or ends that, on behalf of an administrator.
   *
   * @throws MatrixError M_FORBIDDEN for administrators, M_INVALID_PARAM for a user of another server,
   *   M_NOT_FOUND
   */
  async moderate(
    admin: UserId,
    userId: UserId,
    change: { is_locked: boolean } | { is_suspended: boolean },
  ): Promise<void> {
    if (userId === admin) {
      throw new MatrixError("M_FORBIDDEN", "You cannot lock or suspend yourself");
    }
    await this.getModerated(userId, admin);
    await this.setRights(userId, change);
  }

  /**
   * @param admin who asks: other administrators are none of their business; undefined where that
   *   does not matter
   * @throws MatrixError M_FORBIDDEN, M_INVALID_PARAM for a user of another server, M_NOT_FOUND
   */
  async getModerated(userId: UserId, admin?: UserId): Promise<Account> {
    if (!this.#options.isLocal(serverNameOf(userId))) {
      throw new MatrixError("M_INVALID_PARAM", "The user is not of this server");
    }
    const account = await this.get(userId);
    if (admin !== undefined && account.is_admin && userId !== admin) {
      throw new MatrixError("M_FORBIDDEN", "The user is an administrator too");
    }
    return account;
  }

  /**
   * Ends an account for good: nobody can log in, and its user leaves all rooms.
   *
   * @param erase whether what is not an event goes too, and new members see its events redacted
   * @throws MatrixError M_NOT_FOUND
   */
  async deactivate(userId: UserId, { erase }: { erase: boolean }): Promise<void> {
    await this.get(userId);
    await this.#options.devices.remove(userId, { allBut: undefined }, async (tx) => {
      await accounts.update(tx, userId, {
        is_deactivated: true,
        is_leaving: true,
        is_admin: false,
        password_hash: null,
        ...(erase ? { is_erased: true } : {}),
      });
      await shortLivedTokens.removeOf(tx, userId);
      if (!erase) return;
      await profiles.removeOf(tx, userId);
      await accountData.removeOf(tx, userId);
      await filters.removeOf(tx, userId);
    });
    const leaving = this.#leaveRooms(userId);
    await Promise.race([leaving, sleep(PATIENCE_MS, undefined, { ref: false })]);
  }

  /** Goes on where a deactivation was interrupted. */
  async resumeDeactivations(): Promise<void> {
    for (const userId of await accounts.listLeaving(this.#options.database.db)) {
      await this.#leaveRooms(userId);
    }
  }

  #leaveRooms(userId: UserId): Promise<void> {
    const { database, rooms, onError } = this.#options;
    const leaving = rooms
      .leaveAllRooms(userId)
      .then(async () => {
        await database.db
          .transaction()
          .execute((tx) => accounts.update(tx, userId, { is_leaving: false }));
      })
      .catch(onError)
      .finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
    return leaving;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#leaving);
  }
}
