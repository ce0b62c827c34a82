/** Making accounts over the network: https://spec.matrix.org/v1.19/client-server-api/#legacy-account-registration */
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import * as accounts from "../../storage/accounts.ts";
import type { Database } from "../../storage/database.ts";
import * as registrationTokens from "../../storage/registration-tokens.ts";
import { addressKey, type RateLimits } from "../rate-limits/rate-limits.ts";
import type { Stream } from "../stream/stream.ts";
import { refuseGuest } from "./guards.ts";
import type { AuthData, InteractiveAuth, Stage } from "./interactive-auth.ts";
import type { Passwords } from "./passwords.ts";
import type { LoggedIn, Sessions } from "./sessions.ts";
import type { PolicyDocument } from "./stages.ts";
import type { Random } from "./tokens.ts";
import { inUse, newName, newUserId } from "./user-names.ts";

export interface RegistrationSettings {
  /** The domain of new accounts. */
  serverName: string;
  isEnabled: boolean;
  requiresToken: boolean;
  allowsGuests: boolean;
  /** What new users must agree to. */
  policies: readonly PolicyDocument[];
}

export interface RegistrationOptions {
  settings: RegistrationSettings;
  database: Database;
  stream: Stream;
  passwords: Passwords;
  /** False where no password opens an account, so that none needs be given. */
  passwordsEnabled: boolean;
  interactiveAuth: InteractiveAuth;
  sessions: Sessions;
  rateLimits: Pick<RateLimits, "take">;
  clock: () => number;
  random: Random;
}

/** A request to register, its body as it goes over the wire. */
export interface RegisterRequest {
  body: {
    auth?: AuthData | undefined;
    username?: string | undefined;
    password?: string | undefined;
    device_id?: string | undefined;
    initial_device_display_name?: string | undefined;
    inhibit_login?: boolean | undefined;
    refresh_token?: boolean | undefined;
    guest_access_token?: string | undefined;
  };
  clientAddress: string;
  userAgent: string;
}

/** What is kept of a request until its user has authenticated. */
interface Kept extends JsonObject {
  username?: string | undefined;
  password_hash?: string | undefined;
  /** The guest who becomes a user. */
  guest?: UserId | undefined;
  device_id?: string | undefined;
  initial_device_display_name?: string | undefined;
  inhibit_login?: boolean | undefined;
  refresh_token?: boolean | undefined;
}

/** Clients ask while a name is typed: several questions count as one registration. */
const PROBE_COST = 0.25;

export class Registration {
  readonly #options: RegistrationOptions;
  readonly #flows: readonly (readonly Stage[])[];

  constructor(options: RegistrationOptions) {
    this.#options = options;
    const { requiresToken, policies } = options.settings;
    const stages: Stage[] = [];
    if (requiresToken) stages.push("m.login.registration_token");
    if (policies.length > 0) stages.push("m.login.terms");
    this.#flows = [stages.length === 0 ? ["m.login.dummy"] : stages];
  }

  get isEnabled(): boolean {
    return this.#options.settings.isEnabled;
  }

  /**
   * The user ID that a user name gives.
   *
   * @throws MatrixError M_INVALID_USERNAME, M_USER_IN_USE
   */
  async checkAvailable(username: string): Promise<UserId> {
    const userId = newUserId(username, this.#options.settings.serverName);
    if ((await accounts.find(this.#options.database.db, userId)) !== undefined) throw inUse();
    return userId;
  }

  /**
   * The same for who only wants to know, and may be guessing who is here.
   *
   * @throws MatrixError also M_FORBIDDEN, M_LIMIT_EXCEEDED
   */
  async probe(username: string, clientAddress: string): Promise<void> {
    this.refuseIfDisabled();
    const key = `probe ${addressKey(clientAddress)}`;
    await this.#options.rateLimits.take("rc_registration", key, PROBE_COST);
    await this.checkAvailable(username);
  }

  /** @throws MatrixError M_FORBIDDEN where nobody can register */
  refuseIfDisabled(): void {
    if (!this.isEnabled) throw new MatrixError("M_FORBIDDEN", "Registration is disabled");
  }

  /**
   * Makes an account once the user has authenticated, and logs it in unless that is inhibited.
   *
   * @throws MatrixError M_FORBIDDEN, M_USER_IN_USE, M_INVALID_USERNAME, M_WEAK_PASSWORD,
   *   M_MISSING_PARAM; AuthenticationRequired
   */
  async register(request: RegisterRequest): Promise<LoggedIn | { user_id: UserId }> {
    const { passwords, passwordsEnabled, interactiveAuth, rateLimits } = this.#options;
    this.refuseIfDisabled();
    const { auth, ...body } = request.body;
    const guest = await this.#findGuest(body);
    if (body.username !== undefined && guest === undefined) {
      await this.checkAvailable(body.username);
    }
    if (body.password !== undefined) passwords.check(body.password);
    const { proofs, kept } = await interactiveAuth.require({
      name: "POST /_matrix/client/v3/register",
      caller: undefined,
      auth,
      request: body,
      flows: this.#flows,
      limit: () => rateLimits.take("rc_registration", addressKey(request.clientAddress)),
      async keep(): Promise<Kept> {
        const { password, guest_access_token: _, ...rest } = body;
        return {
          ...rest,
          ...(guest === undefined ? {} : { guest }),
          ...(password === undefined ? {} : { password_hash: await passwords.hash(password) }),
        };
      },
    });
    const wanted: Kept = kept ?? {};
    if (wanted.password_hash === undefined && passwordsEnabled) {
      throw new MatrixError("M_MISSING_PARAM", "body.password is missing");
    }
    return this.#finish(request, wanted, proofs);
  }

  async #finish(
    { clientAddress, userAgent }: RegisterRequest,
    wanted: Kept,
    proofs: Readonly<Partial<Record<Stage, JsonObject>>>,
  ): Promise<LoggedIn | { user_id: UserId }> {
    const { database, stream, sessions, clock, random, settings } = this.#options;
    const now = clock();
    const { guest } = wanted;
    const userId = guest ?? newUserId(wanted.username ?? newName(random), settings.serverName);
    const token = proofs["m.login.registration_token"]?.["token"];
    const policies = proofs["m.login.terms"]?.["policies"] ?? {};
    const login = {
      deviceId: wanted.device_id,
      displayName: wanted.initial_device_display_name,
      wantsRefreshToken: wanted.refresh_token,
      clientAddress,
      userAgent,
    };
    const add = async (tx: Parameters<typeof accounts.add>[0]) => {
      if (typeof token === "string" && !(await registrationTokens.use(tx, token, now))) {
        throw new MatrixError("M_FORBIDDEN", "The registration token was used up meanwhile");
      }
      const password_hash = wanted.password_hash ?? null;
      const isAdded =
        guest === undefined
          ? await accounts.add(tx, {
              user_id: userId,
              created_ts: now,
              password_hash,
              is_admin: false,
              is_guest: false,
            })
          : await accounts.update(tx, guest, { is_guest: false, password_hash });
      if (!isAdded) throw inUse();
      const versions = new Map(Object.entries(policies as Record<string, string>));
      await accounts.addAgreements(tx, userId, versions, now);
      return wanted.inhibit_login === true
        ? { user_id: userId }
        : sessions.issue(tx, userId, login);
    };
    if (guest === undefined) return database.db.transaction().execute(add);
    const { result } = await stream.append({
      entries: [{ kind: "session", userId }],
      write: add,
    });
    return result;
  }

  /** The guest whose account is to become a full one. */
  async #findGuest(body: RegisterRequest["body"]): Promise<UserId | undefined> {
    const { guest_access_token: token, username } = body;
    if (token === undefined) return undefined;
    const use = { evenLocked: false, clientAddress: "", userAgent: "" };
    const caller = await this.#options.sessions.authenticate(token, use);
    const isSame =
      caller.isGuest &&
      username !== undefined &&
      caller.userId === `@${username}:${this.#options.settings.serverName}`;
    if (isSame) return caller.userId;
    throw new MatrixError("M_FORBIDDEN", "The token is not that of the guest of this name");
  }

  /** @throws MatrixError M_GUEST_ACCESS_FORBIDDEN where guests are not let in, M_LIMIT_EXCEEDED */
  async registerGuest(request: RegisterRequest): Promise<LoggedIn> {
    const { database, sessions, rateLimits, clock, random, settings } = this.#options;
    if (!settings.allowsGuests) refuseGuest({ isGuest: true });
    const { clientAddress, userAgent } = request;
    await rateLimits.take("rc_registration", addressKey(clientAddress));
    const userId = newUserId(`guest-${newName(random)}`, settings.serverName);
    return database.db.transaction().execute(async (tx) => {
      const isAdded = await accounts.add(tx, {
        user_id: userId,
        created_ts: clock(),
        password_hash: null,
        is_admin: false,
        is_guest: true,
      });
      if (!isAdded) throw inUse();
      const displayName = request.body.initial_device_display_name;
      return sessions.issue(tx, userId, { displayName, clientAddress, userAgent });
    });
  }
}
