/** Devices publish their keys: https://spec.matrix.org/v1.19/client-server-api/#uploading-keys */
import { canonicalJson } from "../../spec/canonical-json.ts";
import { type DeviceKeys, keyText, type OneTimeKey } from "../../spec/encryption-keys.ts";
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { parseStored } from "../../spec/strict-json.ts";
import * as crossSigning from "../../storage/cross-signing.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as deviceKeys from "../../storage/device-keys.ts";
import * as deviceLists from "../../storage/device-lists.ts";
import * as oneTimeKeys from "../../storage/one-time-keys.ts";
import type { DeviceId, KnownKey, NewKey } from "../../storage/one-time-keys.ts";
import { ConflictError, type NewEntry, type Stream } from "../stream/stream.ts";

export interface KeyUpload {
  deviceKeys?: DeviceKeys | undefined;
  oneTimeKeys: readonly OneTimeKey[];
  fallbackKeys: readonly OneTimeKey[];
}

export interface UploadDeps {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append">;
}

/** One-time keys that a device may have in stock; beyond it the oldest are dropped. */
export const MAX_ONE_TIME_KEYS = 500;
/** Algorithms of which a device may have a fallback key. */
const MAX_FALLBACK_KEYS = 10;
const MAX_ATTEMPTS = 5;

/**
 * Publishes a device's keys, all or none.
 *
 * @param caller the device that they belong to
 * @returns how many one-time keys the device has in stock, by algorithm
 * @throws MatrixError M_INVALID_PARAM for keys of another user or device, for a one-time key whose ID
 *   is in stock with another value, and for two fallback keys of one algorithm
 */
export async function uploadKeys(
  deps: UploadDeps,
  caller: { userId: UserId; deviceId?: string | undefined },
  upload: KeyUpload,
): Promise<Map<string, number>> {
  const { userId, deviceId } = caller;
  if (deviceId === undefined) {
    throw new MatrixError("M_INVALID_PARAM", "The request does not come from a device");
  }
  const device = { userId, deviceId };
  if (upload.deviceKeys !== undefined) refuseForeign(upload.deviceKeys, device);
  const otks = upload.oneTimeKeys.map(newKey);
  const fallbacks = upload.fallbackKeys.map(newKey);
  if (new Set(fallbacks.map((key) => key.algorithm)).size < fallbacks.length) {
    throw new MatrixError("M_INVALID_PARAM", "There are two fallback keys of one algorithm");
  }
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryUpload(deps, device, upload.deviceKeys, otks, fallbacks);
    } catch (error) {
      if (!(error instanceof ConflictError) || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

async function tryUpload(
  deps: UploadDeps,
  device: DeviceId,
  keys: DeviceKeys | undefined,
  otks: readonly NewKey[],
  allFallbacks: readonly NewKey[],
): Promise<Map<string, number>> {
  const { db } = deps.database;
  const { userId, deviceId } = device;
  const json = keys && canonicalJson(keys, { numbers: "lossless" });
  const [before, known, fallbacksBefore] = await Promise.all([
    json === undefined ? undefined : deviceKeys.find(db, userId, deviceId),
    otks.length === 0 ? [] : oneTimeKeys.listKnown(db, device, otks),
    allFallbacks.length === 0 ? [] : oneTimeKeys.listFallbacks(db, device),
  ]);
  const isKeysNews = json !== undefined && json !== before;
  const isNewIdentity = isKeysNews && before !== undefined && isOtherKey(before, json);
  // The stock goes with the old identity, whose signatures it bears.
  if (!isNewIdentity) refuseOtherValues(known);
  const isInStock = new Set(known.map((key) => `${key.algorithm}:${key.key_id}`));
  const news = isNewIdentity
    ? otks
    : otks.filter((key) => !isInStock.has(`${key.algorithm}:${key.keyId}`));
  const fallbacks = allFallbacks.filter(
    (key) => isNewIdentity || !fallbacksBefore.some((old) => isSameKey(old, key)),
  );
  const algorithms = new Set([...fallbacksBefore, ...fallbacks].map((key) => key.algorithm));
  if (algorithms.size > MAX_FALLBACK_KEYS) {
    throw new MatrixError("M_INVALID_PARAM", "There are fallback keys of too many algorithms");
  }

  const entries: NewEntry[] = [];
  if (isKeysNews) entries.push({ kind: "device_list", userId });
  if (news.length > 0 || fallbacks.length > 0 || isNewIdentity) {
    entries.push({ kind: "one_time_keys", userId, deviceId });
  }
  if (entries.length === 0) return oneTimeKeys.counts(db, device);

  const { result } = await deps.stream.append({
    entries,
    write: async (tx, positions) => {
      const position = positions.at(-1) ?? 0;
      if (isKeysNews) {
        const now = await deviceKeys.find(tx, userId, deviceId);
        if (now !== before) throw new ConflictError("other device keys came first");
        await putDeviceKeys(tx, device, json, isNewIdentity, positions[0] ?? 0);
      }
      if (news.length > 0) {
        refuseOtherValues(await oneTimeKeys.add(tx, device, news, position));
        await oneTimeKeys.trim(tx, device, MAX_ONE_TIME_KEYS);
      }
      await oneTimeKeys.putFallbacks(tx, device, fallbacks);
      return oneTimeKeys.counts(tx, device);
    },
  });
  return result;
}

async function putDeviceKeys(
  tx: Tx,
  { userId, deviceId }: DeviceId,
  json: string,
  isNewIdentity: boolean,
  position: number,
): Promise<void> {
  if (isNewIdentity) {
    await oneTimeKeys.removeOf(tx, userId, [deviceId]);
    await crossSigning.removeSignaturesOn(tx, userId, [deviceId]);
    await crossSigning.removeSignaturesBy(tx, userId, [`ed25519:${deviceId}`]);
  }
  if (!(await deviceKeys.put(tx, { user_id: userId, device_id: deviceId, json }))) {
    throw new MatrixError("M_UNKNOWN_TOKEN", "The device is no longer there");
  }
  await deviceLists.noteChange(tx, userId, position);
}

/** V079: a device speaks for itself only. */
function refuseForeign(keys: DeviceKeys, { userId, deviceId }: DeviceId): void {
  if (keys.user_id !== userId) {
    throw new MatrixError("M_INVALID_PARAM", "device_keys.user_id is not the caller's user ID");
  }
  if (keys.device_id !== deviceId) {
    throw new MatrixError("M_INVALID_PARAM", "device_keys.device_id is not the caller's device ID");
  }
}

/** V082: a one-time key never changes under its ID. */
function refuseOtherValues(known: readonly KnownKey[]): void {
  const other = known.find((key) => key.is_other);
  if (other === undefined) return;
  const name = `${other.algorithm}:${other.key_id}`;
  throw new MatrixError(
    "M_INVALID_PARAM",
    `One time key ${name} already exists with another value`,
  );
}

/** Whether device keys differ in more than their signatures. */
function isOtherKey(a: string, b: string): boolean {
  return textOf(a) !== textOf(b);
}

function textOf(json: string): string {
  return keyText(parseStored(json) as JsonObject);
}

function isSameKey(old: { algorithm: string; key_id: string; json: string }, key: NewKey): boolean {
  return old.algorithm === key.algorithm && old.key_id === key.keyId && old.json === key.json;
}

function newKey({ algorithm, keyId, key }: OneTimeKey): NewKey {
  return { algorithm, keyId, json: canonicalJson(key, { numbers: "lossless" }) };
}
