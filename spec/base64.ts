/** Unpadded base64: https://spec.matrix.org/v1.19/appendices/#unpadded-base64 */

/** Unpadded base64 of the standard alphabet. */
export function encodeBase64(bytes: Uint8Array): string {
  const text = bufferOf(bytes).toString("base64");
  const padding = text.indexOf("=");
  return padding < 0 ? text : text.slice(0, padding);
}

/** Unpadded base64 of the alphabet that is safe in URLs. */
export function encodeBase64Url(bytes: Uint8Array): string {
  return bufferOf(bytes).toString("base64url");
}

const STANDARD = /^[A-Za-z0-9+/]*(={0,2})$/;
const URL_SAFE = /^[A-Za-z0-9_-]*(={0,2})$/;

/**
 * Decodes base64 of the standard alphabet, with right padding or with none.
 *
 * Node itself skips what is no base64. Bits that are left over at the end are let through: the
 * specification's own signing key seed has some.
 *
 * @returns undefined for another character or a length that no bytes give
 */
export function decodeBase64(text: string): Buffer | undefined {
  return decode(text, STANDARD, "base64");
}

/** The same for the alphabet that is safe in URLs. */
export function decodeBase64Url(text: string): Buffer | undefined {
  return decode(text, URL_SAFE, "base64url");
}

function decode(
  text: string,
  alphabet: RegExp,
  encoding: "base64" | "base64url",
): Buffer | undefined {
  const padding = alphabet.exec(text)?.[1];
  if (padding === undefined) return undefined;
  const digits = text.length - padding.length;
  if (digits % 4 === 1 || (padding !== "" && text.length % 4 !== 0)) return undefined;
  return Buffer.from(text, encoding);
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
