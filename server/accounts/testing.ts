/** Accounts on a database of their own, with a clock that the test moves. */
import { InProcessBus } from "../bus/in-process-bus.ts";
import { InProcessStore } from "../ephemeral/in-process-store.ts";
import { DEFAULT_LIMITS, RateLimits } from "../rate-limits/rate-limits.ts";
import { openStream, type Stream } from "../stream/stream.ts";
import type { UserId } from "../../spec/identifiers.ts";
import { openTestDatabase, type TestDatabase } from "../../storage/testing.ts";
import { type AccountSettings, type OpenAccounts, openAccounts } from "./accounts.ts";
import { DEFAULT_POLICY } from "./passwords.ts";

export interface TestAccounts extends OpenAccounts {
  readonly database: TestDatabase;
  readonly stream: Stream;
  /** The time, in ms since the epoch; it stands still. */
  now: number;
  /** Users whose rooms were left. */
  readonly left: UserId[];
  /** `user device` of devices that went. */
  readonly removedDevices: string[];
  /** Device IDs that count as cross-signing keys. */
  readonly crossSigningKeys: Set<string>;
}

export interface TestAccountsOptions {
  registration?: Partial<AccountSettings["registration"]>;
  settings?: Partial<Omit<AccountSettings, "registration">>;
  limited?: boolean;
  /** Replaces leaving rooms. */
  leaveAllRooms?: (userId: UserId) => Promise<void>;
  /** Background work that fails fails the test where nobody listens. */
  onError?: (error: unknown) => void;
}

export async function openTestAccounts(options: TestAccountsOptions = {}): Promise<TestAccounts> {
  const database = await openTestDatabase();
  const throwing = (error: unknown) => {
    throw error;
  };
  const stream = await openStream({
    database,
    bus: new InProcessBus(throwing),
    processId: "test",
    onError: throwing,
  });
  const store = new InProcessStore({ now: () => test.now, onError: throwing });
  const left: UserId[] = [];
  const removedDevices: string[] = [];
  const crossSigningKeys = new Set<string>();
  const opened = openAccounts({
    settings: {
      registration: {
        serverName: "example.org",
        isEnabled: true,
        requiresToken: false,
        allowsGuests: false,
        policies: [],
        ...options.registration,
      },
      registrationSharedSecret: undefined,
      passwordsEnabled: true,
      passwordPolicy: DEFAULT_POLICY,
      refreshableLifetimeMs: 300_000,
      ...options.settings,
    },
    database,
    stream,
    rateLimits: new RateLimits(store, {
      enabled: options.limited === true,
      limits: DEFAULT_LIMITS,
    }),
    isLocal: (name) => name === "example.org",
    rooms: {
      async leaveAllRooms(userId) {
        await options.leaveAllRooms?.(userId);
        left.push(userId);
      },
    },
    keys: {
      isCrossSigningKey: async (_, deviceId) => crossSigningKeys.has(deviceId),
      noteChange: async () => undefined,
    },
    dependents: [
      {
        async removeDevices(_, userId, deviceIds) {
          removedDevices.push(...deviceIds.map((deviceId) => `${userId} ${deviceId}`));
        },
      },
    ],
    onError: options.onError ?? throwing,
    clock: () => test.now,
  });
  const test: TestAccounts = {
    ...opened,
    database,
    stream,
    now: 1_700_000_000_000,
    left,
    removedDevices,
    crossSigningKeys,
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await stream[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
  return test;
}
