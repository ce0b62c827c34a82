/** Secret storage and key backup: a new login reads old messages, with matrix-js-sdk. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { MatrixError } from "matrix-js-sdk";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/index.js";
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import { passwordStage } from "../fixtures/interactive-auth.ts";
import { at } from "../fixtures/json.ts";
import { type Device, startDevice } from "./device.ts";
import { failureOf, sessionOf } from "./interactive-auth.ts";
import { until } from "./until.ts";

const stack = new AsyncDisposableStack();
let server: TestServer;
let alice: Device;
let roomId: string;
let messageId: string;
/** What alice has written down on paper. */
let recoveryKey: string;

before(async () => {
  server = stack.use(await startServer());
  alice = stack.use(await startDevice(server, await server.register("alice")));
  roomId = await alice.createEncryptedRoom([]);
  messageId = await alice.say(roomId, "a note to myself");
});
after(() => stack.disposeAsync());

test("alice's device keeps her cross-signing keys in secret storage", async () => {
  await alice.crypto.bootstrapCrossSigning({
    authUploadDeviceSigningKeys: async (upload) => {
      await upload(null);
    },
  });
  await alice.crypto.bootstrapSecretStorage({
    setupNewKeyBackup: true,
    createSecretStorageKey: async () => {
      const key = await alice.crypto.createRecoveryKeyFromPassphrase();
      assert.ok(key.encodedPrivateKey !== undefined);
      recoveryKey = key.encodedPrivateKey;
      return key;
    },
  });
  await until("secret storage holds all", () => alice.crypto.isSecretStorageReady());
  assert.equal(await alice.crypto.isCrossSigningReady(), true);
  const status = await alice.crypto.getCrossSigningStatus();
  assert.equal(status.privateKeysInSecretStorage, true);
});

test("the keys of what alice wrote come into her backup", async () => {
  const info = await until("the backup has a key", async () => {
    const found = await alice.user.call("GET", "/_matrix/client/v3/room_keys/version");
    return at(found, "count") !== 0 && found;
  });
  assert.equal(info["version"], await alice.crypto.getActiveSessionBackupVersion());
  assert.equal(info["algorithm"], "m.megolm_backup.v1.curve25519-aes-sha2");
  assert.equal(info["count"], 1, "one room, one session");
  const check = await alice.crypto.checkKeyBackupAndEnable();
  assert.equal(check?.trustInfo.trusted, true);
});

test("on a new login, with the recovery key, alice reads her old message", async () => {
  const device = stack.use(await startDevice(server, await server.login(alice.user)));
  const event = await until("the message is there", () =>
    device.client.getRoom(roomId)?.findEventById(messageId),
  );
  await until("it cannot be read without its key", () => event.isDecryptionFailure());

  device.secretStorageKey = decodeRecoveryKey(recoveryKey);
  await device.crypto.loadSessionBackupPrivateKeyFromSecretStorage();
  const restored = await device.crypto.restoreKeyBackup();
  assert.deepEqual([restored.total, restored.imported], [1, 1]);
  assert.equal(await device.reads(roomId, messageId), "a note to myself");

  await until("the new device knows of alice's cross-signing", () =>
    device.crypto.userHasCrossSigningKeys(alice.userId, true),
  );
  await device.crypto.bootstrapCrossSigning({});
  await until("the recovery key has made the new device a verified one", async () => {
    const { userId, deviceId } = device;
    const status = await alice.crypto.getDeviceVerificationStatus(userId, deviceId);
    return status?.crossSigningVerified === true;
  });
});

test("cross-signing keys that are there already are replaced only with alice's password", async () => {
  const before = await alice.crypto.getCrossSigningKeyId();
  let refused: unknown;
  await alice.crypto.bootstrapCrossSigning({
    setupNewCrossSigning: true,
    authUploadDeviceSigningKeys: async (upload) => {
      refused = await failureOf(upload(null));
      await upload({ ...passwordStage(alice.user), session: sessionOf(refused) });
    },
  });
  assert.ok(refused instanceof MatrixError && refused.httpStatus === 401);
  assert.notEqual(await alice.crypto.getCrossSigningKeyId(), before);
});
