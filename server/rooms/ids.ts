/** Room IDs for room versions that have their own: https://spec.matrix.org/v1.19/appendices/#room-ids */
import type { RoomId, ServerName } from "../../spec/identifiers.ts";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LETTERS = 18;

/** A fresh room ID. @param random gives so many random bytes */
export function newRoomId(serverName: ServerName, random: (bytes: number) => Buffer): RoomId {
  let opaque = "";
  while (opaque.length < LETTERS) {
    for (const byte of random(LETTERS)) {
      // 208 = 4 * 52: what is above would favour the first letters.
      if (byte < 208 && opaque.length < LETTERS) opaque += ALPHABET[byte % ALPHABET.length];
    }
  }
  return `!${opaque}:${serverName}`;
}
