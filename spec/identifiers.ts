/** Identifiers: https://spec.matrix.org/v1.19/appendices/#identifier-grammar */
import { MatrixError } from "./errors.ts";
import type { Shape } from "./shape.ts";

export type UserId = `@${string}:${string}`;
/** `!opaque:domain` up to room version 11, `!hash` from 12 on. */
export type RoomId = `!${string}`;
export type RoomAlias = `#${string}:${string}`;
/** `$opaque:domain` in room versions 1 and 2, `$hash` from 3 on. */
export type EventId = `$${string}`;
/** A DNS name, IPv4 literal or bracketed IPv6 literal, with an optional port. */
export type ServerName = string;
export type MxcUri = `mxc://${string}/${string}`;

/** Longest identifier, in bytes of UTF-8. */
const MAX_BYTES = 255;

const DNS_NAME = /^[0-9A-Za-z.-]{1,255}$/;
const IPV6 = /^\[[0-9A-Fa-f:.]{2,45}\]$/;
const LOOKS_LIKE_IPV4 = /^\d+\.\d+\.\d+\.\d+$/;
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/;
const OUR_LOCALPART = /^[a-z0-9._=\-/+]+$/;
const HASH = /^[A-Za-z0-9+/_-]+$/;
const MEDIA_ID = /^[A-Za-z0-9_-]{1,255}$/;

/** Whether a string is a server name: https://spec.matrix.org/v1.19/appendices/#server-name */
export function isServerName(value: string): value is ServerName {
  const { host, port } = splitPort(value);
  if (port !== undefined && !/^\d{1,5}$/.test(port)) return false;
  if (host.startsWith("[")) return IPV6.test(host) && isIpv6(host.slice(1, -1));
  if (LOOKS_LIKE_IPV4.test(host)) return IPV4.test(host);
  return DNS_NAME.test(host);
}

/** The host and the port of a server name, each as it is written. */
export function splitPort(serverName: string): { host: string; port: string | undefined } {
  const colon = serverName.lastIndexOf(":");
  if (colon < 0 || serverName.endsWith("]")) return { host: serverName, port: undefined };
  return { host: serverName.slice(0, colon), port: serverName.slice(colon + 1) };
}

/** RFC 3513 text: groups of up to four digits, one `::` at most, an IPv4 tail allowed. */
function isIpv6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [i, half] of halves.entries()) {
    if (half === "") continue;
    const parts = half.split(":");
    for (const [j, part] of parts.entries()) {
      const isLast = i === halves.length - 1 && j === parts.length - 1;
      if (isLast && part.includes(".")) {
        if (!IPV4.test(part)) return false;
        groups += 2;
      } else if (/^[0-9A-Fa-f]{1,4}$/.test(part)) groups += 1;
      else return false;
    }
  }
  return halves.length === 2 ? groups < 8 : groups === 8;
}

/** A user ID that an event may carry, the historical character sets included. */
export function isUserId(value: string): value is UserId {
  return isNamespaced("@", value);
}

/** A user ID that this server may give to a new account. */
export function isNewUserId(value: string): value is UserId {
  return isUserId(value) && OUR_LOCALPART.test(localpartOf(value));
}

export function isRoomAlias(value: string): value is RoomAlias {
  return isNamespaced("#", value) && !value.startsWith("#:");
}

/** A room ID of any room version: with a domain up to version 11, a hash in base64 from 12 on. */
export function isRoomId(value: string): value is RoomId {
  return isOpaque("!", value);
}

/** An event ID of any room version: with a domain in versions 1 and 2, a hash in base64 after. */
export function isEventId(value: string): value is EventId {
  return isOpaque("$", value);
}

/** The part of a user ID or alias before its domain, without the sigil. */
export function localpartOf(id: UserId | RoomAlias): string {
  return id.slice(1, id.indexOf(":"));
}

/** The server that allocated a user ID or a room alias. */
export function serverNameOf(id: UserId | RoomAlias): ServerName {
  return id.slice(id.indexOf(":") + 1);
}

/** The parts of an `mxc://` URI, or undefined where it is none. */
export function parseMxc(uri: string): { serverName: ServerName; mediaId: string } | undefined {
  const match = /^mxc:\/\/([^/]+)\/([^/]+)$/.exec(uri);
  const [, serverName, mediaId] = match ?? [];
  if (serverName === undefined || mediaId === undefined) return undefined;
  return isServerName(serverName) && isMediaId(mediaId) ? { serverName, mediaId } : undefined;
}

/** The opaque part of an `mxc://` URI. */
export function isMediaId(value: string): boolean {
  return MEDIA_ID.test(value);
}

function isNamespaced(sigil: string, value: string): boolean {
  if (!value.startsWith(sigil) || !isShortText(value)) return false;
  const colon = value.indexOf(":");
  return colon > 0 && isServerName(value.slice(colon + 1));
}

function isOpaque(sigil: string, value: string): boolean {
  if (!value.startsWith(sigil) || !isShortText(value)) return false;
  const colon = value.indexOf(":");
  if (colon < 0) return HASH.test(value.slice(1));
  return colon > 1 && isServerName(value.slice(colon + 1));
}

/** At most 255 bytes, no NUL, no lone surrogate. */
function isShortText(value: string): boolean {
  return (
    value.length <= MAX_BYTES &&
    Buffer.byteLength(value) <= MAX_BYTES &&
    !value.includes("\0") &&
    value.isWellFormed()
  );
}

export const userId: Shape<UserId> = identifier("a user ID", isUserId);
export const roomId: Shape<RoomId> = identifier("a room ID", isRoomId);
export const roomAlias: Shape<RoomAlias> = identifier("a room alias", isRoomAlias);
export const eventId: Shape<EventId> = identifier("an event ID", isEventId);
export const serverName: Shape<ServerName> = identifier("a server name", isServerName);
export const mediaId: Shape<string> = identifier("a media ID", (v): v is string => isMediaId(v));
/** Where the specification lets a path name a room by its ID or by an alias. */
export const roomIdOrAlias: Shape<RoomId | RoomAlias> = identifier(
  "a room ID or room alias",
  (value): value is RoomId | RoomAlias => isRoomId(value) || isRoomAlias(value),
);

function identifier<T extends string>(what: string, is: (value: string) => value is T): Shape<T> {
  return {
    read(value, place) {
      if (typeof value !== "string") {
        throw new MatrixError("M_BAD_JSON", `${place}: expected a string`);
      }
      if (!is(value)) throw new MatrixError("M_INVALID_PARAM", `${place}: not ${what}`);
      return value;
    },
  };
}
