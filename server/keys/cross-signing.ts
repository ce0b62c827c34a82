/** Users publish their cross-signing keys: https://spec.matrix.org/v1.19/client-server-api/#cross-signing */
import { canonicalJson } from "../../spec/canonical-json.ts";
import {
  checkSignatures,
  type CrossSigningKey,
  type CrossSigningUsage,
  keyText,
} from "../../spec/encryption-keys.ts";
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import { isSignedBy } from "../../spec/signed-json.ts";
import { parseStored } from "../../spec/strict-json.ts";
import * as crossSigning from "../../storage/cross-signing.ts";
import type { CrossSigningKeyRow } from "../../storage/cross-signing.ts";
import type { Database, Db, Tx } from "../../storage/database.ts";
import * as deviceKeys from "../../storage/device-keys.ts";
import * as deviceLists from "../../storage/device-lists.ts";
import * as devices from "../../storage/devices.ts";
import { ConflictError, type Stream } from "../stream/stream.ts";

export type CrossSigningUpload = Partial<Record<CrossSigningUsage, CrossSigningKey | undefined>>;

export interface CrossSigningDeps {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append">;
}

const USAGES = ["master", "self_signing", "user_signing"] as const;
const MAX_ATTEMPTS = 5;

/**
 * Publishes a user's cross-signing keys, all or none. Keys that are there already change nothing.
 *
 * @param authorise asks the user to prove who they are, once; called where keys would be replaced or
 *   added to others (MSC3967)
 * @throws MatrixError M_MISSING_PARAM where there is no master key, M_INVALID_SIGNATURE, M_FORBIDDEN for
 *   a key that is a device ID of the user, or what `authorise` throws
 */
export async function uploadCrossSigningKeys(
  deps: CrossSigningDeps,
  userId: UserId,
  upload: CrossSigningUpload,
  authorise: () => Promise<void>,
): Promise<void> {
  for (const usage of USAGES) {
    const key = upload[usage];
    if (key !== undefined && key.json.user_id !== userId) {
      throw new MatrixError("M_INVALID_PARAM", "A key's user_id is not the caller's user ID");
    }
  }
  let isAuthorised = false;
  for (let attempt = 1; ; attempt++) {
    const stored = await storedKeys(deps.database.db, userId);
    const news = newKeys(upload, stored);
    if ((news.get("master") ?? stored.get("master")) === undefined) {
      throw new MatrixError("M_MISSING_PARAM", "There is no master signing key");
    }
    if (news.size === 0) return;
    await refuseBadSignatures(deps.database.db, userId, news, stored);
    if (stored.has("master") && !isAuthorised) {
      await authorise();
      isAuthorised = true;
    }
    try {
      await deps.stream.append({
        entries: [{ kind: "device_list", userId }],
        write: (tx, [position = 0]) => replaceKeys(tx, userId, news, stored, position),
      });
      return;
    } catch (error) {
      // Other keys came first: whether these may replace them is a new question.
      if (!(error instanceof ConflictError) || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

type StoredKeys = Map<CrossSigningUsage, CrossSigningKeyRow>;

async function storedKeys(db: Db, userId: UserId): Promise<StoredKeys> {
  const rows = await crossSigning.listKeys(db, [userId]);
  return new Map(rows.map((row) => [row.usage, row]));
}

/** The keys that differ from what is stored in more than their signatures. */
function newKeys(
  upload: CrossSigningUpload,
  stored: StoredKeys,
): Map<CrossSigningUsage, CrossSigningKey> {
  const news = new Map<CrossSigningUsage, CrossSigningKey>();
  for (const usage of USAGES) {
    const key = upload[usage];
    const row = stored.get(usage);
    if (key === undefined) continue;
    if (row === undefined || keyText(parse(row)) !== keyText(key.json)) news.set(usage, key);
  }
  return news;
}

async function refuseBadSignatures(
  db: Db,
  userId: UserId,
  news: ReadonlyMap<CrossSigningUsage, CrossSigningKey>,
  stored: StoredKeys,
): Promise<void> {
  const master = news.get("master");
  const masterKey = master?.publicKey ?? stored.get("master")?.public_key ?? "";
  for (const usage of ["self_signing", "user_signing"] as const) {
    const key = news.get(usage);
    if (key !== undefined && !isSignedBy(key.json, userId, `ed25519:${masterKey}`, masterKey)) {
      throw invalidSignature(`${usage}_key has no good signature by the master signing key`);
    }
  }
  if (master?.json.signatures === undefined) return;
  const devices = await deviceKeys.listOf(db, [userId]);
  const signers = signersOf(new Map(devices.map((row) => [row.device_id, parse(row)])));
  const { isAnyBad } = checkSignatures(master.json, userId, signers);
  if (isAnyBad) throw invalidSignature("master_key has a bad signature by a device");
}

async function replaceKeys(
  tx: Tx,
  userId: UserId,
  news: ReadonlyMap<CrossSigningUsage, CrossSigningKey>,
  seen: StoredKeys,
  position: number,
): Promise<void> {
  const before = await storedKeys(tx, userId);
  const isAsSeen =
    before.size === seen.size &&
    [...before].every(([usage, row]) => seen.get(usage)?.json === row.json);
  if (!isAsSeen) throw new ConflictError("other cross-signing keys came first");

  const after = new Map<CrossSigningUsage, string>();
  for (const [usage, row] of before) {
    // What the old master key signed is worth nothing under a new one.
    if (!news.has("master")) after.set(usage, row.public_key);
  }
  for (const [usage, key] of news) after.set(usage, key.publicKey);
  if (new Set(after.values()).size < after.size) {
    throw new MatrixError("M_INVALID_PARAM", "Two usages have the same key");
  }
  for (const key of news.values()) {
    if ((await devices.find(tx, userId, key.publicKey)) !== undefined) {
      throw new MatrixError("M_FORBIDDEN", "A key is the ID of one of your devices");
    }
  }

  const gone: string[] = [];
  for (const [usage, row] of before) {
    if (after.get(usage) === row.public_key) continue;
    gone.push(row.public_key);
    if (!after.has(usage)) await crossSigning.removeKey(tx, userId, usage);
  }
  for (const [usage, key] of news) {
    const json = canonicalJson(key.json, { numbers: "lossless" });
    await crossSigning.putKey(tx, { user_id: userId, usage, public_key: key.publicKey, json });
  }
  await crossSigning.removeSignaturesOn(tx, userId, gone);
  await crossSigning.removeSignaturesBy(
    tx,
    userId,
    gone.map((key) => `ed25519:${key}`),
  );
  await deviceLists.noteChange(tx, userId, position);
}

/** The Ed25519 keys of devices, by key identifier. */
export function signersOf(devices: ReadonlyMap<string, JsonObject>): Map<string, string> {
  const signers = new Map<string, string>();
  for (const [deviceId, { keys }] of devices) {
    const keyId = `ed25519:${deviceId}`;
    const key = isObject(keys) && Object.hasOwn(keys, keyId) ? keys[keyId] : undefined;
    if (typeof key === "string") signers.set(keyId, key);
  }
  return signers;
}

export function parse(row: { json: string }): JsonObject {
  return parseStored(row.json) as JsonObject;
}

export function invalidSignature(message: string): MatrixError {
  return new MatrixError("M_INVALID_SIGNATURE", message);
}
