/** All routes of accounts, with the engine behind them, for tests. */
import assert from "node:assert/strict";
import { AccountData, Filters, Tags } from "../server/account-data/account-data.ts";
import { Rights } from "../server/accounts/accounts.ts";
import {
  openTestAccounts,
  type TestAccounts,
  type TestAccountsOptions,
} from "../server/accounts/testing.ts";
import { Profiles } from "../server/profiles/profiles.ts";
import type { UserId } from "../spec/identifiers.ts";
import type { Names } from "../storage/profiles.ts";
import { accountData } from "./account-data.ts";
import { accountManagement } from "./account-management.ts";
import { authenticationFallback } from "./authentication-fallback.ts";
import { capabilities } from "./capabilities.ts";
import { deviceManagement } from "./device-management.ts";
import { discovery } from "./discovery.ts";
import { filtering } from "./filtering.ts";
import { loginFallback } from "./login-fallback.ts";
import { openid } from "./openid.ts";
import { profiles } from "./profiles.ts";
import { registration } from "./registration.ts";
import { serverAdministration } from "./server-administration.ts";
import { sessionManagement } from "./session-management.ts";
import { tags } from "./tags.ts";
import { type Answer, serveRoutes, type TestHttp } from "./testing.ts";

export interface Alice {
  userId: UserId;
  deviceId: string;
  token: string;
  refreshToken: string | undefined;
  password: string;
  request(method: string, path: string, body?: unknown): Promise<Answer>;
}

export interface AccountServer extends AsyncDisposable {
  accounts: TestAccounts;
  accountData: AccountData;
  profiles: Profiles;
  rights: Rights;
  /** Names sent into rooms. */
  sentNames: { userId: UserId; names: Names }[];
  request: TestHttp["request"];
  /** Makes an account with a device. */
  register(name: string): Promise<Alice>;
  logIn(who: Pick<Alice, "userId" | "password">, fields?: object): Promise<Alice>;
}

export async function openAccountServer(
  options: TestAccountsOptions & {
    managedFields?: string[];
    updateMemberProfiles?: (userId: UserId, names: Names) => Promise<void>;
  } = {},
): Promise<AccountServer> {
  const accounts = await openTestAccounts(options);
  const { database, stream } = accounts;
  const { managedFields = [] } = options;
  const rights = new Rights({ database, stream });
  const store = new AccountData({
    database,
    stream,
    generated: [{ type: "m.push_rules", get: async () => ({ global: {} }) }],
  });
  const sentNames: AccountServer["sentNames"] = [];
  const names = new Profiles({
    database,
    stream,
    isLocal: (name) => name === "example.org",
    rooms: {
      async updateMemberProfiles(userId, names) {
        await options.updateMemberProfiles?.(userId, names);
        sentNames.push({ userId, names });
      },
    },
    managedFields,
    onError: () => undefined,
  });
  const { passwordsEnabled = true } = options.settings ?? {};
  const http = await serveRoutes(
    [
      ...discovery({
        publicBaseUrl: "https://matrix.example.org/",
        extraClientContent: { "org.example.more": { a: 1 } },
        support: { page: undefined, contacts: [] },
      }),
      ...capabilities({
        defaultRoomVersion: "12",
        passwordsEnabled,
        managedProfileFields: managedFields,
      }),
      ...registration(accounts),
      ...sessionManagement({ ...accounts, wellKnown: undefined }),
      ...authenticationFallback(accounts.interactiveAuth),
      ...loginFallback(),
      ...accountManagement({ ...accounts, passwordsEnabled }),
      ...deviceManagement(accounts),
      ...serverAdministration(accounts),
      ...openid(accounts.openId),
      ...profiles(names),
      ...accountData(store),
      ...tags(new Tags(store)),
      ...filtering(new Filters(database)),
    ],
    (token, use) => accounts.sessions.authenticate(token, use),
  );

  function known(answer: Answer, password: string): Alice {
    assert.equal(answer.status, 200, answer.text);
    const { user_id, device_id, access_token, refresh_token } = answer.body;
    const token = String(access_token);
    return {
      userId: user_id as UserId,
      deviceId: String(device_id),
      token,
      refreshToken: refresh_token as string | undefined,
      password,
      request: (method, path, body) => http.request(method, path, body, token),
    };
  }

  const server: AccountServer = {
    accounts,
    accountData: store,
    profiles: names,
    rights,
    sentNames,
    request: (...call) => http.request(...call),
    async register(name) {
      const password = `password of ${name}`;
      const userId = await accounts.accounts.create({ username: name, password });
      return server.logIn({ userId, password });
    },
    async logIn({ userId, password }, fields = {}) {
      const answer = await http.request("POST", "/_matrix/client/v3/login", {
        type: "m.login.password",
        identifier: { type: "m.id.user", user: userId },
        password,
        ...fields,
      });
      return known(answer, password);
    },
    async [Symbol.asyncDispose]() {
      await http[Symbol.asyncDispose]();
      await names[Symbol.asyncDispose]();
      rights[Symbol.dispose]();
      await accounts[Symbol.asyncDispose]();
    },
  };
  return server;
}

/** Asserts that a request was refused. */
export function refused(answer: Answer, status: number, errcode: string): void {
  assert.deepEqual(
    { status: answer.status, errcode: answer.body["errcode"] },
    { status, errcode },
    answer.text.slice(0, 300),
  );
}
