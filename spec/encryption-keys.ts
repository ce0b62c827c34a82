/**
 * The public keys that devices and users upload: https://spec.matrix.org/v1.19/client-server-api/#key-algorithms
 * and https://spec.matrix.org/v1.19/client-server-api/#cross-signing
 *
 * Whether a device's own signatures are good is for those to judge who rely on them: a server's word
 * would be worth nothing to them. What is checked here is that keys are what they say they are.
 */
import { decodeBase64, encodeBase64 } from "./base64.ts";
import { canonicalJson } from "./canonical-json.ts";
import { MatrixError } from "./errors.ts";
import { type UserId, userId } from "./identifiers.ts";
import { plainText } from "./plain-text.ts";
import {
  anyObject,
  array,
  badJson,
  invalidParam,
  isObject,
  type JsonObject,
  map,
  object,
  optional,
  refine,
  type Shape,
  string,
  text,
} from "./shape.ts";
import { isSignedBy, type Signatures, signatureOf, signingKeyIds } from "./signed-json.ts";
import { isCurve25519Point, isEd25519Point } from "./signing.ts";

/** Identity keys of a device, with what else its client put there, since its signature covers it. */
export interface DeviceKeys extends JsonObject {
  user_id: UserId;
  device_id: string;
  algorithms: string[];
  keys: Record<string, string>;
  signatures: Signatures;
}

/** A one-time or fallback key as it was uploaded. */
export interface OneTimeKey {
  algorithm: string;
  keyId: string;
  key: string | JsonObject;
}

export type CrossSigningUsage = "master" | "self_signing" | "user_signing";

export interface CrossSigningKey {
  /** In unpadded base64. */
  publicKey: string;
  /** What was uploaded, with its owner's signatures only. */
  json: JsonObject & { user_id: UserId; usage: string[]; signatures?: Signatures };
}

/** Bytes of a device's keys as canonical JSON, and of a one-time key. */
const MAX_DEVICE_KEYS_BYTES = 32 * 1024;
const MAX_ONE_TIME_KEY_BYTES = 8 * 1024;
const MAX_ALGORITHMS = 32;
const KEY_BYTES = 32;

const signatures: Shape<Signatures> = {
  read(value, place) {
    for (const [name, own] of Object.entries(anyObject.read(value, place))) {
      for (const signature of Object.values(anyObject.read(own, `${place}.${name}`))) {
        string.read(signature, `a signature in ${place}.${name}`);
      }
    }
    return value as Signatures;
  },
};

const deviceKeyMembers = object({
  user_id: userId,
  device_id: plainText(),
  algorithms: array(text({ maxBytes: 255 }), { max: MAX_ALGORITHMS }),
  keys: map(plainText({ maxBytes: 512 }), text({ maxBytes: 4096 })),
  signatures,
});

/** A device's keys. Signatures by others and `unsigned` are left out. */
export const deviceKeys: Shape<DeviceKeys> = {
  read(value, place) {
    const { user_id, device_id, keys } = deviceKeyMembers.read(value, place);
    if (keys.size > MAX_ALGORITHMS) throw invalidParam(`${place}.keys`, "too many keys");
    for (const [name, key] of keys) {
      const [algorithm, id] = splitKeyName(name, `${place}.keys`);
      if (algorithm !== "ed25519" && algorithm !== "curve25519") continue;
      if (id !== device_id) throw invalidParam(`${place}.keys`, "a key is of another device");
      if (!isKey(algorithm, key)) throw notAKey(`${place}.keys`, algorithm);
    }
    if (!keys.has(`ed25519:${device_id}`)) {
      throw new MatrixError("M_MISSING_PARAM", `${place}.keys has no Ed25519 key of the device`);
    }
    const read = ownSignaturesOnly(anyObject.read(value, place), user_id) as DeviceKeys;
    refuseLarge(read, place, MAX_DEVICE_KEYS_BYTES);
    return read;
  },
};

const keyObject = object({ key: string, signatures });

/** One-time or fallback keys by `<algorithm>:<key_id>`. */
export function oneTimeKeys({ max }: { max: number }): Shape<OneTimeKey[]> {
  return {
    read(value, place) {
      const entries = Object.entries(anyObject.read(value, place));
      if (entries.length > max) throw invalidParam(place, `more than ${max} keys`);
      return entries.map(([name, key]) => {
        const [algorithm, keyId] = splitKeyName(
          plainText().read(name, `a key of ${place}`),
          `a key of ${place}`,
        );
        return { algorithm, keyId, key: readOneTimeKey(algorithm, key, `${place}.${name}`) };
      });
    },
  };
}

function readOneTimeKey(algorithm: string, key: unknown, place: string): string | JsonObject {
  if (typeof key !== "string" && !isObject(key)) throw badJson(place, "a string or an object");
  if (algorithm === "signed_curve25519") {
    if (!isKey("curve25519", keyObject.read(key, place).key)) throw notAKey(place, "curve25519");
  } else if (algorithm === "curve25519") {
    if (!isKey("curve25519", string.read(key, place))) throw notAKey(place, "curve25519");
  } else if (isObject(key)) keyObject.read(key, place);
  refuseLarge(key, place, MAX_ONE_TIME_KEY_BYTES);
  return key;
}

const crossSigningMembers = object({
  user_id: userId,
  usage: array(string, { max: MAX_ALGORITHMS }),
  keys: map(string, string),
  signatures: optional(signatures),
});

/** A cross-signing key for one usage. Signatures by others and `unsigned` are left out. */
export function crossSigningKey(usage: CrossSigningUsage): Shape<CrossSigningKey> {
  return refine(anyObject, (value, place) => {
    const read = crossSigningMembers.read(value, place);
    if (!read.usage.includes(usage)) throw invalidParam(`${place}.usage`, `does not say ${usage}`);
    const [entry, another] = read.keys;
    if (entry === undefined || another !== undefined) {
      throw invalidParam(`${place}.keys`, "not exactly one key");
    }
    const [name, publicKey] = entry;
    if (name !== `ed25519:${publicKey}`) {
      throw invalidParam(`${place}.keys`, "the key's name is not ed25519: and the key itself");
    }
    const bytes = decodeBase64(publicKey);
    // One key has one name: signatures and device IDs are told apart by it.
    if (bytes === undefined || encodeBase64(bytes) !== publicKey || !isEd25519Point(bytes)) {
      throw notAKey(`${place}.keys`, "ed25519");
    }
    refuseLarge(value, place, MAX_DEVICE_KEYS_BYTES);
    const json = ownSignaturesOnly(value, read.user_id) as CrossSigningKey["json"];
    return { publicKey, json };
  });
}

/** The text of a key but for its signatures: two uploads with the same one are the same key. */
export function keyText(key: JsonObject): string {
  const { signatures: _, unsigned: __, ...rest } = key;
  return canonicalJson(rest, { numbers: "lossless" });
}

/**
 * Checks the signatures on a key by those keys that may sign it.
 *
 * @param signers public keys, by key identifier
 * @returns the signatures that are good, and whether one of them, by a key that may sign, is bad
 */
export function checkSignatures(
  key: JsonObject,
  signer: UserId,
  signers: ReadonlyMap<string, string>,
): { good: { keyId: string; signature: string }[]; isAnyBad: boolean } {
  const good: { keyId: string; signature: string }[] = [];
  let isAnyBad = false;
  for (const keyId of signingKeyIds(key, signer)) {
    const publicKey = signers.get(keyId);
    const signature = signatureOf(key, signer, keyId);
    if (publicKey === undefined || signature === undefined) continue;
    if (isSignedBy(key, signer, keyId, publicKey)) good.push({ keyId, signature });
    else isAnyBad = true;
  }
  return { good, isAnyBad };
}

function splitKeyName(name: string, place: string): [algorithm: string, id: string] {
  const colon = name.indexOf(":");
  if (colon < 1 || colon === name.length - 1) {
    throw invalidParam(place, "a name is not <algorithm>:<id>");
  }
  return [name.slice(0, colon), name.slice(colon + 1)];
}

/** Points off the Ed25519 curve pass: no signature by them is ever good. */
function isKey(algorithm: "ed25519" | "curve25519", key: string): boolean {
  const bytes = decodeBase64(key);
  if (bytes?.length !== KEY_BYTES) return false;
  return algorithm === "ed25519" || isCurve25519Point(bytes);
}

function notAKey(place: string, algorithm: string): MatrixError {
  return invalidParam(place, `not the unpadded base64 of a ${algorithm} key`);
}

function ownSignaturesOnly(key: JsonObject, owner: UserId): JsonObject {
  const { unsigned: _, signatures: all, ...rest } = key;
  if (all === undefined) return rest;
  const own = isObject(all) && Object.hasOwn(all, owner) ? all[owner] : undefined;
  return { ...rest, signatures: own === undefined ? {} : { [owner]: own } };
}

function refuseLarge(value: unknown, place: string, maxBytes: number): void {
  if (Buffer.byteLength(canonicalJson(value, { numbers: "lossless" })) > maxBytes) {
    throw new MatrixError("M_TOO_LARGE", `${place} is larger than ${maxBytes} bytes`);
  }
}
