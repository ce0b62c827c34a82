/** The life of an account, from a token of the administrator to its logout, with matrix-js-sdk. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createClient, type LoginResponse, type MatrixClient, MatrixError } from "matrix-js-sdk";
import { passwordStage } from "../fixtures/interactive-auth.ts";
import { at } from "../fixtures/json.ts";
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import * as registrationTokens from "../../storage/registration-tokens.ts";
import { failureOf, sessionOf } from "./interactive-auth.ts";
import { silenceConsole } from "./surroundings.ts";

const stack = new AsyncDisposableStack();
const TOKEN = "for-alice-alone";
const FIRST_PASSWORD = "a password for the sea";
const SECOND_PASSWORD = "a password for the mountains";

let server: TestServer;
let phone: MatrixClient;
let laptop: MatrixClient;

before(async () => {
  silenceConsole();
  server = stack.use(await startServer({ config: { registration_requires_token: true } }));
  await server.database.db.transaction().execute((tx) =>
    registrationTokens.add(tx, {
      token: TOKEN,
      uses_allowed: 1,
      expires_ts: null,
      created_ts: Date.now(),
    }),
  );
});
after(() => stack.disposeAsync());

test("alice makes her account with the token she was given", async () => {
  const client = createClient({ baseUrl: server.baseUrl });
  const account = { username: "alice", password: FIRST_PASSWORD };
  const asked = await failureOf(client.registerRequest(account));
  assert.ok(asked instanceof MatrixError && asked.httpStatus === 401);
  assert.ok(JSON.stringify(at(asked.data, "flows")).includes("m.login.registration_token"));

  const session = sessionOf(asked);
  const stage = { type: "m.login.registration_token", session };
  const wrong = { ...account, auth: { ...stage, token: "guessed" } };
  const refused = await failureOf(client.registerRequest(wrong));
  assert.ok(refused instanceof MatrixError && refused.httpStatus === 401);

  const registered = await client.registerRequest({ ...account, auth: { ...stage, token: TOKEN } });
  assert.equal(registered.user_id, `@alice:${server.serverName}`);
  phone = clientOf(registered as LoginResponse);
  assert.equal((await phone.whoami()).user_id, registered.user_id);
});

test("a token for one account makes no second one", async () => {
  const client = createClient({ baseUrl: server.baseUrl });
  const account = { username: "mallory", password: FIRST_PASSWORD };
  const session = sessionOf(await failureOf(client.registerRequest(account)));
  const auth = { type: "m.login.registration_token", token: TOKEN, session };
  const refused = await failureOf(client.registerRequest({ ...account, auth }));
  assert.ok(refused instanceof MatrixError && refused.httpStatus === 401);
});

test("alice logs in on a second device, and both are listed", async () => {
  laptop = clientOf(await logIn(FIRST_PASSWORD));
  const { devices } = await phone.getDevices();
  assert.deepEqual(
    new Set(devices.map((device) => device.device_id)),
    new Set([phone.getDeviceId(), laptop.getDeviceId()]),
  );
});

test("alice changes her password, which logs out her other device", async () => {
  const asked = await failureOf(changePassword());
  assert.ok(asked instanceof MatrixError && asked.httpStatus === 401);
  await changePassword(sessionOf(asked));

  assert.equal((await phone.whoami()).user_id, phone.getUserId());
  await assertLoggedOut(laptop);
  const refused = await failureOf(logIn(FIRST_PASSWORD));
  assert.ok(refused instanceof MatrixError);
  assert.deepEqual([refused.httpStatus, refused.errcode], [403, "M_FORBIDDEN"]);
});

test("alice logs in with the new password, and logs out", async () => {
  laptop = clientOf(await logIn(SECOND_PASSWORD));
  await laptop.logout();
  await assertLoggedOut(laptop);
  const { devices } = await phone.getDevices();
  assert.deepEqual(
    devices.map((device) => device.device_id),
    [phone.getDeviceId()],
  );
});

function clientOf({
  user_id: userId,
  device_id: deviceId,
  access_token: accessToken,
}: LoginResponse) {
  return createClient({ baseUrl: server.baseUrl, userId, deviceId, accessToken });
}

function logIn(password: string): Promise<LoginResponse> {
  const client = createClient({ baseUrl: server.baseUrl });
  const userId = `@alice:${server.serverName}`;
  return client.loginRequest(passwordStage({ userId, password }));
}

async function changePassword(session?: string): Promise<unknown> {
  const userId = `@alice:${server.serverName}`;
  const stage = passwordStage({ userId, password: FIRST_PASSWORD });
  // Without a session, as a client asks which ways of authentication there are.
  const auth = session === undefined ? {} : { ...stage, session };
  return await phone.setPassword(auth, SECOND_PASSWORD);
}

async function assertLoggedOut(client: MatrixClient): Promise<void> {
  const failure = await failureOf(client.whoami());
  assert.ok(failure instanceof MatrixError);
  assert.deepEqual([failure.httpStatus, failure.errcode], [401, "M_UNKNOWN_TOKEN"]);
}
