/**
 * Signatures of identity servers on third-party invites:
 * https://spec.matrix.org/v1.19/client-server-api/#third-party-invites
 */
import { decodeBase64Url, encodeBase64 } from "./base64.ts";
import { isObject, type JsonObject } from "./shape.ts";
import { isSignedBy, signingKeyIds } from "./signed-json.ts";

/**
 * More signatures than an identity server gives; the rest counts for nothing. An event of 64 KiB
 * could hold hundreds, to be tried with each of hundreds of keys.
 */
const MAX_SIGNATURES = 10;

/**
 * Whether any signature of a `signed` block is one by a key.
 *
 * It is the `isSignedWith` of the authorisation rules.
 *
 * @param publicKey Ed25519, in base64 of the standard or the URL-safe alphabet
 */
export function isInviteSignedWith(signed: JsonObject, publicKey: string): boolean {
  const key = standardBase64(publicKey);
  const { signatures } = signed;
  if (key === undefined || !isObject(signatures)) return false;
  return Object.keys(signatures)
    .flatMap((name) => signingKeyIds(signed, name).map((keyId) => ({ name, keyId })))
    .slice(0, MAX_SIGNATURES)
    .some(({ name, keyId }) => isSignedBy(signed, name, keyId, key));
}

function standardBase64(text: string): string | undefined {
  if (/[+/]/.test(text)) return text;
  const bytes = decodeBase64Url(text);
  return bytes === undefined ? undefined : encodeBase64(bytes);
}
