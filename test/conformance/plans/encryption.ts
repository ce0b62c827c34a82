/** Valid requests about end-to-end encryption: keys, cross-signing, to-device messages, key backup. */
import { crossSigningKeys, deviceKeys, signedKeys, SigningKey } from "../../fixtures/e2ee-keys.ts";
import { textAt } from "../../fixtures/json.ts";
import type { Plan, Plans } from "../plan.ts";
import { BACKED_UP_SESSION, BACKUP, type World } from "../world.ts";

const V3 = "/_matrix/client/v3";

export const encryptionPlans: Plans = {
  uploadKeys: async ({ server, bob }) => {
    const device = await server.login(bob);
    const key = new SigningKey();
    const body = {
      device_keys: deviceKeys(device, key),
      one_time_keys: signedKeys(device, key, ["AAAAHg", "AAAAHQ"]),
      fallback_keys: signedKeys(device, key, ["AAAAGj"], { fallback: true }),
    };
    return { as: device, body };
  },
  queryKeys: ({ bob }) => ({ body: { timeout: 1000, device_keys: { [bob.userId]: [] } } }),
  claimKeys: async ({ server, bob }) => {
    const device = await server.login(bob);
    const key = new SigningKey();
    const keys = {
      device_keys: deviceKeys(device, key),
      one_time_keys: signedKeys(device, key, ["A"]),
    };
    await device.call("POST", `${V3}/keys/upload`, keys);
    const wanted = { [bob.userId]: { [device.deviceId]: "signed_curve25519" } };
    return { body: { timeout: 1000, one_time_keys: wanted } };
  },
  getKeysChanges: async ({ alice }) => {
    const from = textAt(await alice.sync(), "next_batch");
    const to = textAt(await alice.sync(), "next_batch");
    return { query: { from, to } };
  },
  uploadCrossSigningKeys: async (world) => {
    const user = await world.user();
    return { as: user, body: crossSigningKeys(user.userId).body };
  },
  uploadCrossSigningSignatures: async (world) => {
    const user = await world.user();
    const keys = deviceKeys(user, new SigningKey());
    await user.call("POST", `${V3}/keys/upload`, { device_keys: keys });
    const { body, selfSigning } = crossSigningKeys(user.userId);
    await user.call("POST", `${V3}/keys/device_signing/upload`, body);
    const signed = selfSigning.sign(keys, user.userId, selfSigning.publicKey);
    return { as: user, body: { [user.userId]: { [user.deviceId]: signed } } };
  },
  sendToDevice: ({ bob }) => ({
    params: { eventType: "m.new_device" },
    body: { messages: { [bob.userId]: { "*": { example_content_key: "value" } } } },
  }),

  postRoomKeysVersion: async (world) => ({ as: await world.user(), body: BACKUP }),
  getRoomKeysVersionCurrent: async (world) => ({ as: (await world.backup()).user }),
  getRoomKeysVersion: ofBackup(),
  putRoomKeysVersion: async (world) => {
    const { user, version } = await world.backup();
    return { as: user, params: { version }, body: { ...BACKUP, version } };
  },
  deleteRoomKeysVersion: ofBackup(),
  getRoomKeys: ofBackup(),
  putRoomKeys: ofBackup(({ roomId }) => ({
    rooms: { [roomId]: { sessions: { sessionId: BACKED_UP_SESSION } } },
  })),
  deleteRoomKeys: ofBackup(),
  getRoomKeysByRoomId: ofBackup(),
  putRoomKeysByRoomId: ofBackup(() => ({ sessions: { sessionId: BACKED_UP_SESSION } })),
  deleteRoomKeysByRoomId: ofBackup(),
  getRoomKeyBySessionId: ofBackup(),
  putRoomKeyBySessionId: ofBackup(() => BACKED_UP_SESSION),
  deleteRoomKeyBySessionId: ofBackup(),
};

/** A backup that somebody has just made, named where the operation names one. */
function ofBackup(body?: (world: World) => unknown) {
  return async (world: World): Promise<Plan> => {
    const { user, version, sessionId } = await world.backup();
    const given = body?.(world);
    const params = { version, sessionId };
    return {
      as: user,
      params,
      query: { version },
      ...(given === undefined ? {} : { body: given }),
    };
  };
}
