/**
 * PDUs from other servers, read in the format of their room version:
 * https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
 */
import {
  checkSize,
  eventIdOf,
  isContentHashValid,
  type Pdu,
  type RoomEvent,
  roomEvent,
} from "./event-format.ts";
import { canonicalEvent, signedTextOf } from "./event-hashes.ts";
import { checkPdu } from "./pdu-shape.ts";
import { redact } from "./redaction.ts";
import type { RoomVersion } from "./room-versions.ts";
import { badJson, isObject } from "./shape.ts";
import { MAX_PDU_DEPTH, parseJson } from "./strict-json.ts";

/** An event as it came from another server; its signatures are still to be checked. */
export interface ReceivedEvent extends RoomEvent {
  /** The text that the signatures have to cover. */
  readonly signedText: string;
  /** The content hash did not match, so that this is the redacted event. */
  readonly isRedacted: boolean;
  /** Why it is to be kept as a rejected event. */
  readonly rejected: string | undefined;
}

/**
 * Reads a PDU that another server sent: its format (check 1) and its hash (check 3).
 *
 * @throws MatrixError M_NOT_JSON, M_BAD_JSON or M_TOO_LARGE where the PDU is to be dropped
 */
export function parsePdu(bytes: Uint8Array, version: RoomVersion): ReceivedEvent {
  const numbers = version.strictCanonicalJson ? "integers" : "lossless";
  return readPdu(parseJson(bytes, { maxDepth: MAX_PDU_DEPTH, numbers }), version);
}

/** The same for JSON that `parseJson` gave. */
export function readPdu(value: unknown, version: RoomVersion): ReceivedEvent {
  if (!isObject(value)) throw badJson("PDU", "an object");
  const { unsigned, ...received } = value;
  const json = canonicalEvent(received, version);
  // The limit is on the whole PDU as it came.
  checkSize(unsigned === undefined ? json : canonicalEvent(value, version));
  const rejected = checkPdu(received, version);
  const pdu = received as Pdu;
  const signedText = signedTextOf(pdu, version);
  const event = roomEvent(pdu, json, eventIdOf(pdu, version, signedText));
  if (isContentHashValid(pdu, version))
    return { ...event, signedText, isRedacted: false, rejected };
  const redacted = redact(pdu, version) as Pdu;
  const text = canonicalEvent(redacted, version);
  return { ...event, pdu: redacted, json: text, signedText, isRedacted: true, rejected };
}
