/**
 * What a PDU has to look like: https://spec.matrix.org/v1.19/server-server-api/#pdus and the event
 * format of each room version. Unknown keys are fine everywhere: they are signed like the rest.
 */
import { MatrixError } from "./errors.ts";
import { type EventId, isEventId, isRoomId, isServerName, isUserId } from "./identifiers.ts";
import type { RoomVersion } from "./room-versions.ts";
import { badJson, isObject, type JsonObject } from "./shape.ts";
import { JsonNumber } from "./strict-json.ts";

export const MAX_PREV_EVENTS = 20;
export const MAX_AUTH_EVENTS = 10;
/** The longest identifier, type and state key, in bytes. */
export const MAX_IDENTIFIER_BYTES = 255;
/** The greatest depth; an event after one of this depth has it too. */
export const MAX_DEPTH = Number.MAX_SAFE_INTEGER;

const BASE64_ID = /^\$[A-Za-z0-9+/]{43}$/;
const BASE64URL_ID = /^\$[A-Za-z0-9_-]{43}$/;
const CREATE_EVENT_ROOM_ID = /^![A-Za-z0-9_-]{43}$/;

/**
 * Checks the fields of a PDU, in the format of its room version.
 *
 * @returns why the event is to be kept as a rejected one; undefined where nothing is wrong
 * @throws MatrixError M_BAD_JSON where the PDU is to be dropped
 */
export function checkPdu(pdu: JsonObject, version: RoomVersion): string | undefined {
  const { type, sender, state_key: stateKey, content, room_id: roomId } = pdu;
  if (typeof type !== "string") throw badJson("type", "a string");
  if (typeof sender !== "string") throw badJson("sender", "a string");
  if (stateKey !== undefined && typeof stateKey !== "string")
    throw badJson("state_key", "a string");
  if (!isObject(content)) throw badJson("content", "an object");
  const { redacts } = pdu;
  if (!version.redactsInContent && redacts !== undefined && typeof redacts !== "string") {
    throw badJson("redacts", "a string");
  }
  checkRoomId(pdu, version);
  if (version.eventIds === "assigned" && !isAssignedId(pdu["event_id"])) {
    throw badJson("event_id", "an event ID with a domain");
  }
  const depth = integerOf(pdu["depth"]);
  if (depth === undefined || depth < 0) throw badJson("depth", "an integer from 0 on");
  if (integerOf(pdu["origin_server_ts"]) === undefined) {
    throw badJson("origin_server_ts", "an integer");
  }
  checkReferences(pdu, "prev_events", MAX_PREV_EVENTS, version);
  checkReferences(pdu, "auth_events", MAX_AUTH_EVENTS, version);
  checkHashesAndSignatures(pdu);

  const tooLong = tooLongIdentifier([type, sender, stateKey, roomId, pdu["event_id"]], version);
  const isSender = tooLong === undefined ? isUserId(sender) : isLongUserId(sender);
  if (!isSender) throw badJson("sender", "a user ID");
  return tooLong;
}

function checkRoomId(pdu: JsonObject, version: RoomVersion): void {
  const { room_id: roomId } = pdu;
  if (version.roomIdIsCreateEvent) {
    const isCreate = pdu["type"] === "m.room.create" && pdu["state_key"] === "";
    if (roomId === undefined && isCreate) return;
    if (typeof roomId === "string" && CREATE_EVENT_ROOM_ID.test(roomId)) return;
  } else if (typeof roomId === "string" && (isRoomId(roomId) || isLongId("!", roomId))) return;
  throw badJson("room_id", "a room ID");
}

/** From version 11 on such an event is malformed; before, it is rejected, and others build on it. */
function tooLongIdentifier(identifiers: unknown[], version: RoomVersion): string | undefined {
  for (const identifier of identifiers) {
    if (typeof identifier !== "string" || !isLong(identifier)) continue;
    const isMalformed =
      version.identifiersCountBytes || Array.from(identifier).length > MAX_IDENTIFIER_BYTES;
    const problem = `an identifier, type or state key of more than ${MAX_IDENTIFIER_BYTES} bytes`;
    if (isMalformed) throw new MatrixError("M_BAD_JSON", problem);
    return problem;
  }
  return undefined;
}

export function isLong(identifier: string): boolean {
  return (
    // No unit of UTF-16 takes more than 3 bytes.
    identifier.length * 3 > MAX_IDENTIFIER_BYTES &&
    Buffer.byteLength(identifier) > MAX_IDENTIFIER_BYTES
  );
}

/** An identifier that only its length makes wrong. */
function isLongId(sigil: string, value: string): boolean {
  return value.startsWith(sigil) && !value.includes("\0") && isLong(value);
}

function isLongUserId(value: string): boolean {
  const domain = value.slice(value.indexOf(":") + 1);
  return isUserId(value) || (isLongId("@", value) && isServerName(domain));
}

/** An event ID of versions 1 and 2, which has a domain. */
function isAssignedId(value: unknown): value is EventId {
  if (typeof value !== "string" || !value.includes(":")) return false;
  return isEventId(value) || isLongId("$", value);
}

function checkReferences(
  pdu: JsonObject,
  key: "prev_events" | "auth_events",
  max: number,
  { eventIds }: RoomVersion,
): void {
  const references = pdu[key];
  if (!Array.isArray(references)) throw badJson(key, "an array");
  if (references.length > max) throw badJson(key, `${max} events at most`);
  for (const reference of references as unknown[]) {
    if (!isReference(reference, eventIds)) throw badJson(key, "event IDs");
  }
}

function isReference(reference: unknown, eventIds: RoomVersion["eventIds"]): boolean {
  if (eventIds !== "assigned") {
    const format = eventIds === "base64" ? BASE64_ID : BASE64URL_ID;
    return typeof reference === "string" && format.test(reference);
  }
  if (!Array.isArray(reference) || reference.length !== 2) return false;
  const [id, hashes] = reference as unknown[];
  return isAssignedId(id) && isObject(hashes);
}

function checkHashesAndSignatures({ hashes, signatures }: JsonObject): void {
  if (!isObject(hashes) || typeof hashes["sha256"] !== "string") {
    throw badJson("hashes", "an object with sha256");
  }
  if (!isObject(signatures)) throw badJson("signatures", "an object");
  for (const byKey of Object.values(signatures)) {
    if (!isObject(byKey) || !Object.values(byKey).every((s) => typeof s === "string")) {
      throw badJson("signatures", "objects of strings");
    }
  }
}

/**
 * The value of an integer field, brought within ±(2^53 - 1) where versions 1 to 5 allow 64 bits.
 *
 * @returns undefined for what is no such integer
 */
export function integerOf(value: unknown): number | undefined {
  if (Number.isSafeInteger(value)) return value as number;
  // A larger integer that a double writes as it was, such as 2^60, is a number too.
  const text = value instanceof JsonNumber ? value.text : String(value);
  if (typeof value !== "number" && !(value instanceof JsonNumber)) return undefined;
  if (!/^-?\d{1,19}$/.test(text)) return undefined;
  const integer = BigInt(text);
  if (integer > 2n ** 63n - 1n || integer < -(2n ** 63n)) return undefined;
  return integer < 0n ? Number.MIN_SAFE_INTEGER : Number.MAX_SAFE_INTEGER;
}
