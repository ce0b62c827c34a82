/**
 * Ed25519 keys and signatures over bytes: https://spec.matrix.org/v1.19/appendices/#signing-details
 *
 * The one door to the cryptographic packages. sodium-native is the fast path where it loads;
 * node:crypto stands in for it, and is asked again before a signature is called bad, so that we
 * never differ from the federation; @noble/curves checks the points that others upload.
 */
import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign as signWith,
  verify as verifyWith,
} from "node:crypto";
import { createRequire } from "node:module";
import { ed25519, ED25519_TORSION_SUBGROUP } from "@noble/curves/ed25519.js";
import { LRUCache } from "lru-cache";
import { decodeBase64, encodeBase64 } from "./base64.ts";

export const SEED_BYTES = 32;
const PUBLIC_KEY_BYTES = 32;
const SECRET_KEY_BYTES = 64;
const SIGNATURE_BYTES = 64;

/** What we use of sodium-native, which has no types. */
interface Sodium {
  crypto_sign_seed_keypair(publicKey: Buffer, secretKey: Buffer, seed: Buffer): void;
  crypto_sign_detached(signature: Buffer, message: Buffer, secretKey: Buffer): void;
  crypto_sign_verify_detached(signature: Buffer, message: Buffer, publicKey: Buffer): boolean;
}

const sodium = loadSodium();

/** Undefined where the package has no build for the machine. */
function loadSodium(): Sodium | undefined {
  const require = createRequire(import.meta.url);
  try {
    return require("sodium-native") as Sodium;
  } catch {
    return undefined;
  }
}

/** A key that signs. It never shows its secret part. */
export class SigningKey {
  /** The signing key identifier, as `ed25519:a_XyZ`. */
  readonly keyId: string;
  /** In unpadded base64. */
  readonly publicKey: string;
  readonly #secretKey: Buffer;
  readonly #keyObject: KeyObject;

  /**
   * @param version the part of the key identifier after `ed25519:`
   * @param seed 32 bytes
   */
  constructor(version: string, seed: Uint8Array) {
    if (seed.length !== SEED_BYTES) throw new RangeError(`a seed has ${SEED_BYTES} bytes`);
    this.keyId = `ed25519:${version}`;
    this.#keyObject = createPrivateKey({
      key: Buffer.concat([PKCS8_PREFIX, seed]),
      format: "der",
      type: "pkcs8",
    });
    const spki = createPublicKey(this.#keyObject).export({ format: "der", type: "spki" });
    const publicKey = spki.subarray(SPKI_PREFIX.length);
    this.publicKey = encodeBase64(publicKey);
    // sodium's form of a secret key
    this.#secretKey = Buffer.concat([seed, publicKey], SECRET_KEY_BYTES);
  }

  /**
   * @param message text is signed as UTF-8
   * @returns the signature in unpadded base64
   */
  sign(message: string | Uint8Array): string {
    const bytes = toBuffer(message);
    if (sodium === undefined) return encodeBase64(signWith(null, bytes, this.#keyObject));
    const signature = Buffer.allocUnsafe(SIGNATURE_BYTES);
    sodium.crypto_sign_detached(signature, bytes, this.#secretKey);
    return encodeBase64(signature);
  }
}

/** DER before the 32 bytes of a private and of a public Ed25519 key (RFC 8410). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

interface PublicKey {
  readonly bytes: Buffer;
  keyObject: KeyObject | undefined;
}

/** Keys that were read lately, by their base64; false for what is none. */
const publicKeys = new LRUCache<string, PublicKey | false>({ max: 10_000 });

/**
 * Checks an Ed25519 signature.
 *
 * @param message text is checked as UTF-8
 * @param signature in base64
 * @param publicKey in base64
 * @returns false also for what is no signature or no key, and for a key of small order, for which
 *   anyone can make signatures
 */
export function isSignatureValid(
  message: string | Uint8Array,
  signature: string,
  publicKey: string,
): boolean {
  const signatureBytes = decodeBase64(signature);
  if (signatureBytes?.length !== SIGNATURE_BYTES) return false;
  // One signature has one text: nobody can make a second event of it by changing spare bits.
  if (encodeBase64(signatureBytes) !== signature.replace(/=+$/, "")) return false;
  const key = readPublicKey(publicKey);
  if (key === false) return false;
  const bytes = toBuffer(message);
  if (sodium?.crypto_sign_verify_detached(signatureBytes, bytes, key.bytes) === true) return true;
  key.keyObject ??= createPublicKey({
    key: Buffer.concat([SPKI_PREFIX, key.bytes]),
    format: "der",
    type: "spki",
  });
  return verifyWith(null, bytes, key.keyObject, signatureBytes);
}

function readPublicKey(base64: string): PublicKey | false {
  const known = publicKeys.get(base64);
  if (known !== undefined) return known;
  const bytes = decodeBase64(base64);
  const isKey = bytes !== undefined && isEd25519Point(bytes);
  const key = isKey ? { bytes, keyObject: undefined } : false;
  publicKeys.set(base64, key);
  return key;
}

/** Whether bytes are an Ed25519 public key: a point of the curve, canonical, not of small order. */
export function isEd25519Point(bytes: Uint8Array): boolean {
  if (bytes.length !== PUBLIC_KEY_BYTES) return false;
  try {
    return !ed25519.Point.fromBytes(Uint8Array.from(bytes)).isSmallOrder();
  } catch {
    return false;
  }
}

/** Whether bytes are a Curve25519 public key that gives a secret: 32 bytes, not of small order. */
export function isCurve25519Point(bytes: Uint8Array): boolean {
  return bytes.length === PUBLIC_KEY_BYTES && !SMALL_ORDER_U.has(uOf(bytes));
}

const P = 2n ** 255n - 19n;

/** The u coordinate, little-endian; the top bit does not count, and u is taken modulo p. */
function uOf(bytes: Uint8Array): bigint {
  const bigEndian = Buffer.from(bytes).reverse();
  return (BigInt(`0x${bigEndian.toString("hex")}`) & (2n ** 255n - 1n)) % P;
}

/** u of the points of small order, of the curve and of its twist (which adds -1). */
const SMALL_ORDER_U: ReadonlySet<bigint> = new Set([
  0n,
  P - 1n,
  ...ED25519_TORSION_SUBGROUP.map((hex) => ed25519.Point.fromHex(hex))
    .filter((point) => !point.is0())
    .map((point) => uOf(ed25519.utils.toMontgomery(point.toBytes()))),
]);

function toBuffer(message: string | Uint8Array): Buffer {
  if (typeof message === "string") return Buffer.from(message);
  return Buffer.from(message.buffer, message.byteOffset, message.length);
}
