/** Keys and devices for tests; several on one database are several processes. */
import { createHash } from "node:crypto";
import { encodeBase64 } from "../../spec/base64.ts";
import type {
  CrossSigningKey,
  CrossSigningUsage,
  DeviceKeys,
  OneTimeKey,
} from "../../spec/encryption-keys.ts";
import { type ErrorCode, MatrixError } from "../../spec/errors.ts";
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { signJson } from "../../spec/signed-json.ts";
import { SigningKey } from "../../spec/signing.ts";
import * as devices from "../../storage/devices.ts";
import type { TestDatabase } from "../../storage/testing.ts";
import { type Memberships, openMemberships } from "../memberships/memberships.ts";
import { openTestRooms, type TestRooms } from "../rooms/testing.ts";
import { Keys, noRemoteKeys, type RemoteKeys } from "./keys.ts";

export interface TestKeys extends TestRooms {
  keys: Keys;
  memberships: Memberships;
}

export async function openTestKeys(
  database: TestDatabase,
  { remote = noRemoteKeys }: { remote?: RemoteKeys } = {},
): Promise<TestKeys> {
  const house = await openTestRooms(database);
  const memberships = openMemberships({ database, stream: house.stream });
  const keys = new Keys({
    database,
    stream: house.stream,
    memberships,
    isLocal,
    remote,
    onError(error) {
      throw error;
    },
  });
  return {
    ...house,
    memberships,
    keys,
    async [Symbol.asyncDispose]() {
      keys[Symbol.dispose]();
      memberships[Symbol.dispose]();
      await house[Symbol.asyncDispose]();
    },
  };
}

const isLocal = (name: string): boolean => name === "here.example";

/** A device of a user, known to the server, with the keys that its client would have. */
export class TestDevice {
  readonly userId: UserId;
  readonly deviceId: string;
  readonly key: SigningKey;

  constructor(userId: UserId, deviceId: string, generation = 0) {
    this.userId = userId;
    this.deviceId = deviceId;
    this.key = new SigningKey(deviceId, bytesOf(`${userId} ${deviceId} ${generation}`));
  }

  /** As `/keys/upload` has them. */
  get deviceKeys(): DeviceKeys {
    const { userId, deviceId, key } = this;
    const keys: JsonObject = {
      user_id: userId,
      device_id: deviceId,
      algorithms: ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
      keys: {
        [key.keyId]: key.publicKey,
        [`curve25519:${deviceId}`]: encodeBase64(bytesOf(`curve ${key.publicKey}`)),
      },
    };
    return signJson(keys, userId, key) as unknown as DeviceKeys;
  }

  oneTimeKey(keyId: string, value = keyId): OneTimeKey {
    const key = signJson({ key: encodeBase64(bytesOf(`otk ${value}`)) }, this.userId, this.key);
    return { algorithm: "signed_curve25519", keyId, key };
  }

  oneTimeKeys(prefix: string, count: number): OneTimeKey[] {
    return Array.from({ length: count }, (_, i) => this.oneTimeKey(`${prefix}${i}`));
  }

  fallbackKey(keyId: string): OneTimeKey {
    const key = { key: encodeBase64(bytesOf(`fallback ${keyId}`)), fallback: true };
    return {
      algorithm: "signed_curve25519",
      keyId,
      key: signJson(key, this.userId, this.key),
    };
  }
}

/** A user's cross-signing keys. */
export class TestIdentity {
  readonly userId: UserId;
  readonly master: SigningKey;
  readonly selfSigning: SigningKey;
  readonly userSigning: SigningKey;

  constructor(userId: UserId, generation = 0) {
    this.userId = userId;
    this.master = crossSigningKeyOf(`master ${userId} ${generation}`);
    this.selfSigning = crossSigningKeyOf(`self ${userId} ${generation}`);
    this.userSigning = crossSigningKeyOf(`user ${userId} ${generation}`);
  }

  get masterKey(): CrossSigningKey {
    return this.#keyOf("master", this.master);
  }
  get selfSigningKey(): CrossSigningKey {
    return this.#signed(this.#keyOf("self_signing", this.selfSigning));
  }
  get userSigningKey(): CrossSigningKey {
    return this.#signed(this.#keyOf("user_signing", this.userSigning));
  }
  get upload(): Required<Record<CrossSigningUsage, CrossSigningKey>> {
    return {
      master: this.masterKey,
      self_signing: this.selfSigningKey,
      user_signing: this.userSigningKey,
    };
  }

  #keyOf(usage: CrossSigningUsage, { keyId, publicKey }: SigningKey): CrossSigningKey {
    return {
      publicKey,
      json: { user_id: this.userId, usage: [usage], keys: { [keyId]: publicKey } },
    };
  }

  #signed({ publicKey, json }: CrossSigningKey): CrossSigningKey {
    return { publicKey, json: signJson(json, this.userId, this.master) };
  }
}

/** A key object with nothing but a signature by some key, as `/keys/signatures/upload` has it. */
export function signedBy(key: JsonObject, signer: UserId, by: SigningKey): JsonObject {
  const { signatures: _, unsigned: __, ...rest } = key;
  return signJson(rest, signer, by);
}

export async function addDevice(
  database: TestDatabase,
  { userId, deviceId }: { userId: UserId; deviceId: string },
  displayName: string | null = null,
): Promise<void> {
  await database.db.transaction().execute((tx) =>
    devices.addOrTouch(tx, {
      user_id: userId,
      device_id: deviceId,
      display_name: displayName,
      created_ts: 1,
      last_seen_ts: null,
      last_seen_ip: null,
      last_seen_user_agent: null,
    }),
  );
}

export async function newDevice(
  database: TestDatabase,
  userId: UserId,
  deviceId: string,
  displayName: string | null = null,
): Promise<TestDevice> {
  const device = new TestDevice(userId, deviceId);
  await addDevice(database, device, displayName);
  return device;
}

/** Judges what was thrown. */
export function fails(errcode: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof MatrixError && error.errcode === errcode;
}

export const remoteUser: UserId = "@rita:remote.example";
export const remoteServer = serverNameOf(remoteUser);

function crossSigningKeyOf(seed: string): SigningKey {
  const { publicKey } = new SigningKey("x", bytesOf(seed));
  // The key's version is its public part.
  return new SigningKey(publicKey, bytesOf(seed));
}

function bytesOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
