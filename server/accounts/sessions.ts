/**
 * Logins: devices and their tokens.
 * https://spec.matrix.org/v1.19/client-server-api/#relationship-between-access-tokens-and-devices
 */
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import * as accessTokens from "../../storage/access-tokens.ts";
import * as accounts from "../../storage/accounts.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as devices from "../../storage/devices.ts";
import type { TokenUse } from "../http.ts";
import type { Caller } from "../route.ts";
import { ConflictError, type Stream } from "../stream/stream.ts";
import { UserCache } from "./user-cache.ts";
import type { Devices } from "./devices.ts";
import { lockedError } from "./guards.ts";
import type { LastSeen } from "./last-seen.ts";
import { familyOf, hashOf, isToken, newRefreshToken, newToken, type Random } from "./tokens.ts";

/** What a login asks for. */
export interface LoginRequest {
  /** Undefined for a new device. */
  deviceId?: string | undefined;
  /** The name of the device, where it is new. */
  displayName?: string | undefined;
  /** Whether the client knows refresh tokens; its access tokens then expire. */
  wantsRefreshToken?: boolean | undefined;
  /** The hash that the password was right for: the login fails where it is no longer the account's. */
  passwordHash?: string | null | undefined;
  clientAddress: string;
  userAgent: string;
}

/** What a login gives, as it goes over the wire. */
export interface Tokens {
  access_token: string;
  refresh_token?: string;
  expires_in_ms?: number;
}
export interface LoggedIn extends Tokens {
  user_id: UserId;
  device_id: string;
}

export interface SessionsOptions {
  database: Database;
  stream: Stream;
  devices: Devices;
  lastSeen: LastSeen;
  clock: () => number;
  random: Random;
  /** Lifetime in ms of an access token that can be refreshed. */
  refreshableLifetimeMs: number;
}

interface Known {
  readonly userId: UserId;
  readonly caller: Caller;
  readonly expiresTs: number | null;
  readonly isLocked: boolean;
  seenTs: number | null;
}

const DEVICE_ID_CHARS = 10;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

export class Sessions implements Disposable {
  readonly #options: SessionsOptions;
  readonly #cache: UserCache<Known>;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#cache = new UserCache(options.stream);
  }

  /**
   * Who an access token belongs to.
   *
   * @throws MatrixError M_UNKNOWN_TOKEN, M_USER_LOCKED
   */
  async authenticate(
    token: string,
    use: Pick<TokenUse, "evenLocked" | "clientAddress" | "userAgent">,
  ): Promise<Caller> {
    const { clock, lastSeen } = this.#options;
    if (!isToken("access", token)) throw unknownToken();
    const hash = hashOf(token);
    const key = hash.toString("base64");
    const known = this.#cache.get(key) ?? (await this.#cache.load(key, () => this.#read(hash)));
    if (known === undefined) throw unknownToken();
    const now = clock();
    if (known.expiresTs !== null && known.expiresTs <= now) throw expiredToken();
    if (known.isLocked && !use.evenLocked) throw lockedError();
    if (lastSeen.isDue(known.seenTs, now)) {
      known.seenTs = now;
      const { clientAddress: ip, userAgent } = use;
      const deviceId = known.caller.deviceId ?? "";
      lastSeen.note({ userId: known.userId, deviceId, ts: now, ip, userAgent });
    }
    return known.caller;
  }

  /**
   * Whether who was let in once may go on: asked of requests that wait.
   *
   * @throws MatrixError M_UNKNOWN_TOKEN, M_USER_LOCKED
   */
  async assertAlive({ tokenId }: Pick<Caller, "tokenId">): Promise<void> {
    const standing = await accessTokens.findStanding(this.#options.database.db, tokenId);
    if (standing === undefined || standing.is_deactivated) throw unknownToken();
    if (standing.is_locked) throw lockedError();
  }

  async #read(hash: Buffer): Promise<Known | undefined> {
    const { database } = this.#options;
    const row = await accessTokens.findSession(database.db, hash);
    if (row === undefined || row.is_deactivated) return undefined;
    if (row.unconfirmed_id !== null) {
      await this.#confirm(row.user_id, row.device_id, row.unconfirmed_id);
    }
    const caller: Caller = {
      userId: row.user_id,
      deviceId: row.device_id,
      tokenId: row.id,
      isAdmin: row.is_admin,
      isGuest: row.is_guest,
      isSuspended: row.is_suspended,
    };
    return {
      userId: row.user_id,
      caller: Object.freeze(caller),
      expiresTs: row.expires_ts,
      isLocked: row.is_locked,
      seenTs: row.last_seen_ts,
    };
  }

  /** The first use of refreshed tokens ends those that they replace. */
  async #confirm(userId: UserId, deviceId: string, refreshId: number): Promise<void> {
    await this.#options.stream.append({
      entries: [{ kind: "session", userId, deviceId }],
      write: async (tx) => {
        await devices.lock(tx, userId, deviceId);
        await accessTokens.confirm(tx, refreshId);
      },
    });
  }

  /**
   * Logs a user in. Tokens that a known device had are void.
   *
   * @throws MatrixError M_FORBIDDEN for a device ID that is a cross-signing key, M_USER_LOCKED
   */
  async logIn(userId: UserId, request: LoginRequest): Promise<LoggedIn> {
    const { database, stream } = this.#options;
    if (request.deviceId === undefined) {
      return database.db.transaction().execute((tx) => this.issue(tx, userId, request));
    }
    await this.#options.devices.checkNewId(userId, request.deviceId);
    const { deviceId } = request;
    const { result } = await stream.append({
      entries: [{ kind: "session", userId, deviceId }],
      write: (tx) => this.issue(tx, userId, request),
    });
    return result;
  }

  /**
   * The same within a transaction, which also holds what the login depends on. A device that is named
   * may be known: the transaction is then one of the stream, with an entry of kind `session`.
   */
  async issue(tx: Tx, userId: UserId, request: LoginRequest): Promise<LoggedIn> {
    const { clock, random } = this.#options;
    const account = await accounts.share(tx, userId);
    const { passwordHash } = request;
    const isStale = passwordHash !== undefined && passwordHash !== account?.password_hash;
    if (account === undefined || account.is_deactivated || isStale) {
      throw new MatrixError("M_FORBIDDEN", "The account has changed meanwhile");
    }
    if (account.is_locked) throw lockedError();
    const deviceId = request.deviceId ?? newDeviceId(random);
    const now = clock();
    const isNew = await devices.addOrTouch(tx, {
      user_id: userId,
      device_id: deviceId,
      display_name: request.displayName ?? null,
      created_ts: now,
      last_seen_ts: now,
      last_seen_ip: request.clientAddress,
      last_seen_user_agent: request.userAgent.slice(0, 255),
    });
    if (!isNew) {
      if (request.deviceId === undefined) throw new ConflictError("a new device was not new");
      await accessTokens.removeOf(tx, userId, [deviceId]);
    }
    const withRefresh = request.wantsRefreshToken === true;
    const tokens = await this.#addTokens(tx, userId, deviceId, withRefresh ? {} : undefined);
    return { user_id: userId, device_id: deviceId, ...tokens };
  }

  /** @param refresh where there is to be a refresh token; with the token that it replaces */
  async #addTokens(
    tx: Tx,
    userId: UserId,
    deviceId: string,
    refresh: { replaces?: { id: number; family: string } } | undefined,
  ): Promise<Tokens> {
    const { clock, random, refreshableLifetimeMs } = this.#options;
    const now = clock();
    const access_token = newToken("access", random);
    const row = {
      token_hash: hashOf(access_token),
      user_id: userId,
      device_id: deviceId,
      created_ts: now,
    };
    if (refresh === undefined) {
      await accessTokens.addAccess(tx, { ...row, expires_ts: null, refresh_id: null });
      return { access_token };
    }
    const refresh_token = newRefreshToken(refresh.replaces?.family, random);
    const refreshId = await accessTokens.addRefresh(tx, {
      token_hash: hashOf(refresh_token),
      family_hash: hashOf(familyOf(refresh_token)),
      user_id: userId,
      device_id: deviceId,
      replaces_id: refresh.replaces?.id ?? null,
    });
    const expires_ts = now + refreshableLifetimeMs;
    await accessTokens.addAccess(tx, { ...row, expires_ts, refresh_id: refreshId });
    return { access_token, refresh_token, expires_in_ms: refreshableLifetimeMs };
  }

  /**
   * Gives new tokens for a refresh token. The old ones stay until the new ones are used; a refresh
   * token that was replaced for good makes all tokens of its login void, since one of two who hold it
   * is a thief.
   *
   * @throws MatrixError M_UNKNOWN_TOKEN, M_USER_LOCKED
   */
  async refresh(refreshToken: string): Promise<Tokens> {
    const { database, stream } = this.#options;
    if (!isToken("refresh", refreshToken)) throw unknownToken();
    const hash = hashOf(refreshToken);
    const family = familyOf(refreshToken);
    const owner = await accessTokens.findFamily(database.db, hashOf(family));
    if (owner === undefined) throw unknownToken();
    const { user_id: userId, device_id: deviceId } = owner;
    const account = await accounts.find(database.db, userId);
    if (account?.is_locked === true) throw lockedError();
    const { result } = await stream.append({
      entries: [{ kind: "session", userId, deviceId }],
      write: async (tx) => {
        await devices.lock(tx, userId, deviceId);
        const token = await accessTokens.findRefresh(tx, hash);
        if (token === undefined) {
          const isAlive = (await accessTokens.findFamily(tx, hashOf(family))) !== undefined;
          if (isAlive) await accessTokens.removeOf(tx, userId, [deviceId]);
          return undefined;
        }
        await accessTokens.confirm(tx, token.id);
        await accessTokens.removeSuccessors(tx, token.id);
        return this.#addTokens(tx, userId, deviceId, { replaces: { id: token.id, family } });
      },
    });
    if (result === undefined) throw expiredToken();
    return result;
  }

  /** Ends a login: its tokens and its device, with its keys, are gone. */
  async logOut(caller: Caller): Promise<void> {
    const { deviceId } = caller;
    if (deviceId === undefined) return;
    await this.#options.devices.remove(caller.userId, [deviceId]);
  }

  [Symbol.dispose](): void {
    this.#cache[Symbol.dispose]();
  }
}

function newDeviceId(random: Random): string {
  let id = "";
  while (id.length < DEVICE_ID_CHARS) {
    // 234 is the greatest multiple of 26 that fits: each letter is as likely as any other.
    for (const byte of random(DEVICE_ID_CHARS)) {
      if (byte < 234 && id.length < DEVICE_ID_CHARS) id += LETTERS[byte % LETTERS.length];
    }
  }
  return id;
}

function unknownToken(): MatrixError {
  return new MatrixError("M_UNKNOWN_TOKEN", "Unknown token");
}

/** The device is still there: the client may keep its keys and log in again. */
function expiredToken(): MatrixError {
  return new MatrixError("M_UNKNOWN_TOKEN", "The token has expired", {
    fields: { soft_logout: true },
  });
}
