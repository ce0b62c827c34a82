/**
 * Events between servers, and as clients see them: https://spec.matrix.org/v1.19/rooms/
 *
 * Every other part handles a `RoomEvent`: the fields of the PDU, the IDs that follow from it, and
 * the one JSON text that is stored and sent to other servers.
 */
import type { EventReference } from "./authorisation.ts";
import { decodeBase64, encodeBase64 } from "./base64.ts";
import { canonicalJson } from "./canonical-json.ts";
import { MatrixError } from "./errors.ts";
import {
  canonicalEvent,
  contentHash,
  hashEventId,
  referenceHash,
  sha256,
  signedTextOf,
} from "./event-hashes.ts";
import type { EventId, RoomId, ServerName, UserId } from "./identifiers.ts";
import {
  integerOf,
  isLong,
  MAX_AUTH_EVENTS,
  MAX_DEPTH,
  MAX_IDENTIFIER_BYTES,
  MAX_PREV_EVENTS,
} from "./pdu-shape.ts";
import { redact, redactContent } from "./redaction.ts";
import type { RoomVersion } from "./room-versions.ts";
import type { JsonObject } from "./shape.ts";
import { addSignature, signatureOf, type Signatures } from "./signed-json.ts";
import { isSignatureValid, type SigningKey } from "./signing.ts";
import { type JsonNumber, parseStored } from "./strict-json.ts";

/** The longest PDU, as canonical JSON with its signatures. */
const MAX_PDU_BYTES = 65_536;

/** The fields of an event on the wire, as its room version has them. */
export interface Pdu extends JsonObject {
  readonly type: string;
  readonly sender: UserId;
  readonly content: JsonObject;
  readonly state_key?: string;
  /** Absent in the create event of version 12. */
  readonly room_id?: RoomId;
  /** In versions 1 and 2 only. */
  readonly event_id?: EventId;
  /** Of `m.room.redaction`, up to version 10. */
  readonly redacts?: string;
  readonly depth: number | JsonNumber;
  readonly origin_server_ts: number | JsonNumber;
  readonly prev_events: readonly EventReference[];
  readonly auth_events: readonly EventReference[];
  readonly hashes: { readonly sha256: string };
  readonly signatures: Signatures;
}

/** An event with what follows from its PDU. */
export interface RoomEvent {
  readonly eventId: EventId;
  readonly roomId: RoomId;
  /** Its depth and time, brought within ±(2^53 - 1) where versions 1 to 5 allow more. */
  readonly depth: number;
  readonly originServerTs: number;
  /** Without `unsigned`. */
  readonly pdu: Pdu;
  /** The PDU as canonical JSON: what is stored, and what other servers are sent. */
  readonly json: string;
}

/** What the maker of an event decides. */
export interface NewEventFields {
  /** Left out for the create event of version 12, and only there. */
  readonly room_id?: RoomId;
  /** In versions 1 and 2, and only there. */
  readonly event_id?: EventId;
  readonly type: string;
  readonly sender: UserId;
  readonly content: JsonObject;
  readonly state_key?: string;
  readonly origin_server_ts: number;
  readonly depth: number;
  readonly prev_events: readonly EventReference[];
  readonly auth_events: readonly EventReference[];
  /** What an `m.room.redaction` redacts; it is put where the room version wants it. */
  readonly redacts?: EventId;
}

/** Who signs. */
export interface Signer {
  readonly serverName: ServerName;
  readonly key: Pick<SigningKey, "keyId" | "sign">;
}

/**
 * Makes an event: adds hashes and our signature, and with them its ID.
 *
 * @param fields at most 20 prev_events and 10 auth_events
 * @throws MatrixError M_TOO_LARGE for an event of more than 65,536 bytes or a type or state key of
 *   more than 255, M_BAD_JSON for content that is no canonical JSON
 */
export function buildEvent(
  fields: NewEventFields,
  version: RoomVersion,
  { serverName, key }: Signer,
): RoomEvent {
  for (const name of ["type", "state_key"] as const) {
    if (isLong(fields[name] ?? "")) {
      throw new MatrixError("M_TOO_LARGE", `${name}: more than ${MAX_IDENTIFIER_BYTES} bytes`);
    }
  }
  const { type, redacts, prev_events: prevEvents, auth_events: authEvents } = fields;
  if (prevEvents.length > MAX_PREV_EVENTS || authEvents.length > MAX_AUTH_EVENTS) {
    throw new RangeError("too many prev_events or auth_events");
  }
  const content =
    redacts !== undefined && version.redactsInContent
      ? { ...fields.content, redacts }
      : fields.content;
  const numbers = version.strictCanonicalJson ? "integers" : "lossless";

  // The members in code point order, so that each text is made once, out of the same pieces.
  const before = `{"auth_events":${canonicalJson(authEvents)},"content":`;
  const contentText = canonicalJson(content, { numbers });
  let middle = `,"depth":${canonicalJson(fields.depth)}`;
  if (fields.event_id !== undefined) middle += `,"event_id":${canonicalJson(fields.event_id)}`;
  const after = `,"origin_server_ts":${canonicalJson(fields.origin_server_ts)},"prev_events":${canonicalJson(prevEvents)}`;
  const topRedacts = version.redactsInContent ? undefined : redacts;
  const redactsText = topRedacts === undefined ? "" : `,"redacts":${canonicalJson(topRedacts)}`;
  let ids = fields.room_id === undefined ? "" : `,"room_id":${canonicalJson(fields.room_id)}`;
  ids += `,"sender":${canonicalJson(fields.sender)}`;
  let end = fields.state_key === undefined ? "" : `,"state_key":${canonicalJson(fields.state_key)}`;
  end += `,"type":${canonicalJson(type)}}`;

  const hash = encodeBase64(
    sha256(before + contentText + middle + after + redactsText + ids + end),
  );
  middle += `,"hashes":{"sha256":"${hash}"}`;
  const keptContent = redactContent(type, content, version);
  const keptText = keptContent === content ? contentText : canonicalJson(keptContent, { numbers });
  const keptRedacts = version.redaction.keys.has("redacts") ? redactsText : "";
  const signedText = before + keptText + middle + after + keptRedacts + ids + end;
  const signature = key.sign(signedText);
  const signatures = { [serverName]: { [key.keyId]: signature } };
  const json = `${before}${contentText}${middle}${after}${redactsText}${ids},"signatures":${canonicalJson(signatures)}${end}`;
  checkSize(json);

  const pdu: Pdu = {
    auth_events: authEvents,
    content,
    depth: fields.depth,
    ...(fields.event_id === undefined ? {} : { event_id: fields.event_id }),
    hashes: { sha256: hash },
    origin_server_ts: fields.origin_server_ts,
    prev_events: prevEvents,
    ...(topRedacts === undefined ? {} : { redacts: topRedacts }),
    ...(fields.room_id === undefined ? {} : { room_id: fields.room_id }),
    sender: fields.sender,
    signatures,
    ...(fields.state_key === undefined ? {} : { state_key: fields.state_key }),
    type,
  };
  return roomEvent(pdu, json, fields.event_id ?? hashEventId(signedText, version));
}

/** Reads an event that was stored. The IDs are those it was stored under. */
export function readStoredEvent(
  json: string,
  version: RoomVersion,
  ids: { eventId: EventId; roomId: RoomId },
): RoomEvent {
  return { ...roomEvent(parseStored(json) as Pdu, json, ids.eventId), roomId: ids.roomId };
}

/** Adds a signature of ours to an event of another server, as to an invite or a restricted join. */
export function cosignEvent(event: RoomEvent, version: RoomVersion, signer: Signer): RoomEvent {
  const signature = signer.key.sign(signedTextOf(event.pdu, version));
  const { keyId } = signer.key;
  const signatures = addSignature(event.pdu.signatures, signer.serverName, keyId, signature);
  const pdu: Pdu = { ...event.pdu, signatures };
  const json = canonicalEvent(pdu, version);
  checkSize(json);
  return { ...event, pdu, json };
}

/**
 * Whether an event carries a valid signature of a server.
 *
 * @param publicKey that of `keyId`, in base64
 */
export function isEventSignedBy(
  pdu: Pdu,
  version: RoomVersion,
  signer: { serverName: ServerName; keyId: string; publicKey: string },
): boolean {
  const signature = signatureOf(pdu, signer.serverName, signer.keyId);
  if (signature === undefined) return false;
  return isSignatureValid(signedTextOf(pdu, version), signature, signer.publicKey);
}

/** The depth of an event after events of these depths. */
export function depthAfter(depths: readonly number[]): number {
  return Math.min(Math.max(0, ...depths) + 1, MAX_DEPTH);
}

/** The event as redaction leaves it, under the same IDs. */
export function redactEvent(event: RoomEvent, version: RoomVersion): RoomEvent {
  const pdu = redact(event.pdu, version) as Pdu;
  return { ...event, pdu, json: canonicalEvent(pdu, version) };
}

/** The ID of an event, taken from its PDU or made of its reference hash. */
export function eventIdOf(
  pdu: Pdu,
  version: RoomVersion,
  signedText = signedTextOf(pdu, version),
): EventId {
  return version.eventIds === "assigned" && pdu.event_id !== undefined
    ? pdu.event_id
    : hashEventId(signedText, version);
}

/** Whether the content hash of a PDU is that of its content; if not, it has been redacted. */
export function isContentHashValid(pdu: Pdu, version: RoomVersion): boolean {
  const claimed = decodeBase64(pdu.hashes.sha256);
  return claimed !== undefined && contentHash(pdu, version).equals(claimed);
}

/** How another event names this one in its `prev_events` or `auth_events`. */
export function referenceTo(
  event: Pick<RoomEvent, "eventId" | "pdu">,
  version: RoomVersion,
): EventReference {
  if (version.eventIds !== "assigned") return event.eventId;
  return [event.eventId, { sha256: encodeBase64(referenceHash(event.pdu, version)) }];
}

/** An event as clients see it, but for `unsigned`. */
export interface ClientEvent extends JsonObject {
  content: JsonObject;
  event_id: EventId;
  origin_server_ts: number | JsonNumber;
  room_id: RoomId;
  sender: UserId;
  type: string;
  state_key?: string;
  redacts?: string;
}

/**
 * The client format of an event.
 *
 * A redaction names its target both in `content.redacts`, as from version 11 on, and in `redacts`,
 * as before, for clients that know only one of them.
 */
export function clientFormat(
  { eventId, roomId, pdu }: Pick<RoomEvent, "eventId" | "roomId" | "pdu">,
  version: RoomVersion,
): ClientEvent {
  const event: ClientEvent = {
    content: pdu.content,
    event_id: eventId,
    origin_server_ts: pdu.origin_server_ts,
    room_id: roomId,
    sender: pdu.sender,
    type: pdu.type,
  };
  if (pdu.state_key !== undefined) event.state_key = pdu.state_key;
  if (pdu.type === "m.room.redaction") {
    const redacts = version.redactsInContent ? pdu.content["redacts"] : pdu.redacts;
    if (typeof redacts === "string") {
      event.redacts = redacts;
      if (!version.redactsInContent) event.content = { ...pdu.content, redacts };
    }
  }
  return event;
}

/** The event that a PDU is, under its ID. */
export function roomEvent(pdu: Pdu, json: string, eventId: EventId): RoomEvent {
  return {
    eventId,
    roomId: pdu.room_id ?? `!${eventId.slice(1)}`,
    depth: integerOf(pdu.depth) ?? 0,
    originServerTs: integerOf(pdu.origin_server_ts) ?? 0,
    pdu,
    json,
  };
}

/** @throws MatrixError M_TOO_LARGE for a PDU of more than 65,536 bytes */
export function checkSize(json: string): void {
  if (json.length * 3 > MAX_PDU_BYTES && Buffer.byteLength(json) > MAX_PDU_BYTES) {
    throw new MatrixError("M_TOO_LARGE", `an event of more than ${MAX_PDU_BYTES} bytes`);
  }
}
