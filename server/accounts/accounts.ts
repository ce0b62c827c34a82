/**
 * Accounts of users of ours, their devices, and what proves who somebody is. The entry of this folder.
 *
 * What hangs on accounts elsewhere (rooms, keys, pushers) comes in through small interfaces.
 */
import { randomBytes } from "node:crypto";
import type { Database } from "../../storage/database.ts";
import * as shortLivedTokens from "../../storage/short-lived-tokens.ts";
import * as uiaSessions from "../../storage/uia-sessions.ts";
import type { RateLimits } from "../rate-limits/rate-limits.ts";
import { repeat } from "../repeating.ts";
import type { Stream } from "../stream/stream.ts";
import { Credentials } from "./credentials.ts";
import { type DeviceDependent, type DeviceKeys, Devices } from "./devices.ts";
import { InteractiveAuth } from "./interactive-auth.ts";
import { LastSeen } from "./last-seen.ts";
import { type AccountRooms, Accounts } from "./lifecycle.ts";
import { Logins } from "./logins.ts";
import { OpenId } from "./openid.ts";
import { type PasswordPolicy, Passwords } from "./passwords.ts";
import { Registration, type RegistrationSettings } from "./registration.ts";
import { RegistrationTokens } from "./registration-tokens.ts";
import { Sessions } from "./sessions.ts";
import { SharedSecretRegistration } from "./shared-secret-registration.ts";
import { createStages } from "./stages.ts";
import type { Random } from "./tokens.ts";

export type { Account } from "../../storage/accounts.ts";
export type { Device } from "../../storage/devices.ts";
export type { RegistrationToken } from "../../storage/registration-tokens.ts";
export type { DeviceDependent, DeviceKeys, Devices } from "./devices.ts";
export { refuseGuest, refuseSuspended } from "./guards.ts";
export {
  type AuthData,
  authData,
  type InteractiveAuth,
  type Operation,
  type Stage,
  STAGES,
} from "./interactive-auth.ts";
export type { AccountRooms, Accounts, NewAccount } from "./lifecycle.ts";
export type { Logins } from "./logins.ts";
export type { OpenId } from "./openid.ts";
export type { PasswordPolicy } from "./passwords.ts";
export type { Registration, RegistrationSettings } from "./registration.ts";
export type { RegistrationTokens } from "./registration-tokens.ts";
export type { LoggedIn, LoginRequest, Sessions } from "./sessions.ts";
export type { SharedSecretRegistration } from "./shared-secret-registration.ts";
export { Rights } from "./rights.ts";
export { identifier, identifierOf } from "./stages.ts";

export interface AccountSettings {
  registration: RegistrationSettings;
  /** Undefined: no registration with a shared secret. */
  registrationSharedSecret: string | undefined;
  passwordsEnabled: boolean;
  passwordPolicy: PasswordPolicy;
  /** Lifetime in ms of an access token that can be refreshed. */
  refreshableLifetimeMs: number;
}

export interface OpenAccountsOptions {
  settings: AccountSettings;
  database: Database;
  stream: Stream;
  rateLimits: Pick<RateLimits, "take">;
  isLocal(serverName: string): boolean;
  rooms: AccountRooms;
  keys: DeviceKeys;
  /** What goes when a device goes. */
  dependents: readonly DeviceDependent[];
  /** Is told of background work that failed; it is tried again. */
  onError(error: unknown): void;
  clock?: () => number;
  random?: Random;
}

export interface OpenAccounts extends AsyncDisposable {
  readonly accounts: Accounts;
  readonly devices: Devices;
  readonly interactiveAuth: InteractiveAuth;
  readonly logins: Logins;
  readonly openId: OpenId;
  readonly registration: Registration;
  readonly registrationTokens: RegistrationTokens;
  readonly sessions: Sessions;
  readonly sharedSecretRegistration: SharedSecretRegistration;
  /** Removes what has expired and finishes what was interrupted; it also happens by itself. */
  sweep(): Promise<void>;
}

/** Times in ms: after the start, when an interrupted deactivation may wait, and between sweeps. */
const FIRST_SWEEP_MS = 30_000;
const SWEEP_MS = 3_600_000;

export function openAccounts(options: OpenAccountsOptions): OpenAccounts {
  const { settings, database, stream, rateLimits, isLocal, onError } = options;
  const { clock = Date.now, random = randomBytes } = options;
  const { serverName, policies } = settings.registration;
  const { passwordsEnabled } = settings;

  const passwords = new Passwords(settings.passwordPolicy);
  const credentials = new Credentials({
    database,
    passwords,
    rateLimits,
    serverName,
    isLocal,
    passwordsEnabled,
  });
  const registrationTokens = new RegistrationTokens({ database, clock, random });
  const stages = createStages({ credentials, registrationTokens, policies });
  const interactiveAuth = new InteractiveAuth({ database, stages, clock, random });
  const lastSeen = new LastSeen(database, onError);
  const { keys, dependents, rooms } = options;
  const devices = new Devices({ database, stream, dependents, keys });
  const sessions = new Sessions({
    database,
    stream,
    devices,
    lastSeen,
    clock,
    random,
    refreshableLifetimeMs: settings.refreshableLifetimeMs,
  });
  const accounts = new Accounts({
    database,
    stream,
    serverName,
    isLocal,
    passwords,
    devices,
    rooms,
    clock,
    onError,
  });
  const registration = new Registration({
    settings: settings.registration,
    database,
    stream,
    passwords,
    passwordsEnabled,
    interactiveAuth,
    sessions,
    rateLimits,
    clock,
    random,
  });
  const sharedSecretRegistration = new SharedSecretRegistration({
    secret: settings.registrationSharedSecret,
    database,
    accounts,
    sessions,
    rateLimits,
    clock,
    random,
  });

  async function sweep(): Promise<void> {
    const now = clock();
    await database.db.transaction().execute(async (tx) => {
      await uiaSessions.removeExpired(tx, now);
      await shortLivedTokens.removeExpired(tx, now);
    });
    await accounts.resumeDeactivations();
  }

  const sweeps = repeat(sweep, { firstMs: FIRST_SWEEP_MS, everyMs: SWEEP_MS, onError });

  return {
    accounts,
    devices,
    interactiveAuth,
    logins: new Logins({ database, credentials, sessions, clock, random }),
    openId: new OpenId({ database, clock, random }),
    registration,
    registrationTokens,
    sessions,
    sharedSecretRegistration,
    sweep,
    async [Symbol.asyncDispose]() {
      await sweeps[Symbol.asyncDispose]();
      await accounts[Symbol.asyncDispose]();
      sessions[Symbol.dispose]();
      await lastSeen[Symbol.asyncDispose]();
    },
  };
}
