/**
 * Tokens: what they look like, and the hashes that are stored of them.
 *
 * A token is a prefix that says what it is for (so that scanners find leaked ones), 256 random bits and
 * a checksum, which turns away garbage before the database is asked. A refresh token also names its
 * family, so that one that was used before is known as such though its row is gone.
 */
import { crc32 } from "node:zlib";
import { sha256 } from "../secrets.ts";

export type Random = (bytes: number) => Buffer;
export type TokenKind = "access" | "refresh" | "login" | "openid";

const PREFIX: Readonly<Record<TokenKind, string>> = {
  access: "gma",
  refresh: "gmr",
  login: "gml",
  openid: "gmo",
};

const SECRET_BYTES = 32;
const FAMILY_BYTES = 16;
/** `prefix_secret_checksum`, or `prefix_family_secret_checksum`. */
const FORM = /^(gm[arlo])_(?:([\w-]{22})_)?[\w-]{43}_[\w-]{6}$/;
const CHECKSUM_CHARS = 6;

export function newToken(kind: Exclude<TokenKind, "refresh">, random: Random): string {
  return seal(`${PREFIX[kind]}_${random(SECRET_BYTES).toString("base64url")}`);
}

/** @param family of the token that it replaces; undefined for the first of a new family */
export function newRefreshToken(family: string | undefined, random: Random): string {
  const of = family ?? random(FAMILY_BYTES).toString("base64url");
  return seal(`${PREFIX.refresh}_${of}_${random(SECRET_BYTES).toString("base64url")}`);
}

/** Whether it is a token of ours of a kind, so that it may exist. */
export function isToken(kind: TokenKind, text: string): boolean {
  const match = FORM.exec(text);
  if (match === null || match[1] !== PREFIX[kind]) return false;
  if ((match[2] !== undefined) !== (kind === "refresh")) return false;
  return seal(text.slice(0, -CHECKSUM_CHARS - 1)) === text;
}

/** The family that a refresh token names. */
export function familyOf(refreshToken: string): string {
  return FORM.exec(refreshToken)?.[2] ?? "";
}

/** What is stored of a token or of a family. */
export function hashOf(token: string): Buffer {
  return sha256(token);
}

function seal(body: string): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return `${body}_${sum.toString("base64url")}`;
}
