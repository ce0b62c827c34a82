/** Signing JSON objects: https://spec.matrix.org/v1.19/appendices/#signing-json */
import { canonicalJson } from "./canonical-json.ts";
import { MatrixError } from "./errors.ts";
import { isObject, type JsonObject } from "./shape.ts";
import { isSignatureValid, type SigningKey } from "./signing.ts";

/** Signatures in base64, by the name of who signed and the identifier of the key. */
export type Signatures = { [name: string]: { [keyId: string]: string } };

/** The text that a signature of a JSON object covers: all but `signatures` and `unsigned`. */
export function signedText(object: JsonObject): string {
  const { signatures: _, unsigned: __, ...signed } = object;
  return canonicalJson(signed, { numbers: "lossless" });
}

/**
 * Adds a signature to a JSON object, beside those it has.
 *
 * @param name who signs: a server name, or a user ID for the keys of its devices
 * @returns a new object
 */
export function signJson<T extends JsonObject>(
  object: T,
  name: string,
  key: Pick<SigningKey, "keyId" | "sign">,
): T & { signatures: Signatures } {
  const signature = key.sign(signedText(object));
  return { ...object, signatures: addSignature(object["signatures"], name, key.keyId, signature) };
}

/** Signatures with one more. What is not a signature is left out. */
export function addSignature(
  signatures: unknown,
  name: string,
  keyId: string,
  signature: string,
): Signatures {
  const all = isObject(signatures) ? (signatures as Signatures) : {};
  const own = Object.hasOwn(all, name) ? all[name] : undefined;
  return { ...all, [name]: { ...own, [keyId]: signature } };
}

/** The signature of an entity by one of its keys; undefined where the object has none. */
export function signatureOf(object: JsonObject, name: string, keyId: string): string | undefined {
  const signature = ownMember(ownMember(object["signatures"], name), keyId);
  return typeof signature === "string" ? signature : undefined;
}

/** The identifiers of the keys by which an entity claims to have signed, of known algorithms. */
export function signingKeyIds(object: JsonObject, name: string): string[] {
  const own = ownMember(object["signatures"], name);
  if (!isObject(own)) return [];
  return Object.keys(own).filter((keyId) => /^ed25519:./.test(keyId));
}

/**
 * Whether a JSON object carries a valid signature.
 *
 * @param publicKey that of `keyId`, in base64
 */
export function isSignedBy(
  object: JsonObject,
  name: string,
  keyId: string,
  publicKey: string,
): boolean {
  const signature = signatureOf(object, name, keyId);
  if (signature === undefined) return false;
  try {
    return isSignatureValid(signedText(object), signature, publicKey);
  } catch (error) {
    if (error instanceof MatrixError) return false;
    throw error;
  }
}

function ownMember(object: unknown, key: string): unknown {
  return isObject(object) && Object.hasOwn(object, key) ? object[key] : undefined;
}
