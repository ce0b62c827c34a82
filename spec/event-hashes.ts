/** Hashes and IDs of events: https://spec.matrix.org/v1.19/server-server-api/#signing-events */
import { hash } from "node:crypto";
import { encodeBase64, encodeBase64Url } from "./base64.ts";
import { canonicalJson } from "./canonical-json.ts";
import type { EventId } from "./identifiers.ts";
import { redact } from "./redaction.ts";
import type { RoomVersion } from "./room-versions.ts";
import type { JsonObject } from "./shape.ts";

/** Canonical JSON by the rules that a room version has for numbers. */
export function canonicalEvent(event: JsonObject, version: RoomVersion): string {
  return canonicalJson(event, { numbers: version.strictCanonicalJson ? "integers" : "lossless" });
}

/** The content hash of a PDU: SHA-256 of all but `unsigned`, `signatures` and `hashes`. */
export function contentHash(pdu: JsonObject, version: RoomVersion): Buffer {
  const { unsigned: _, signatures: __, hashes: ___, ...hashed } = pdu;
  return sha256(canonicalEvent(hashed, version));
}

/** What the signatures and the reference hash of a PDU cover: what redaction leaves, unsigned. */
export function signedTextOf(pdu: JsonObject, version: RoomVersion): string {
  const { signatures: _, ...signed } = redact(pdu, version);
  return canonicalEvent(signed, version);
}

/** The reference hash of a PDU. */
export function referenceHash(pdu: JsonObject, version: RoomVersion): Buffer {
  return sha256(signedTextOf(pdu, version));
}

/** The ID of an event whose room version makes it of the reference hash. */
export function hashEventId(signedText: string, version: RoomVersion): EventId {
  const digest = sha256(signedText);
  return `$${version.eventIds === "base64" ? encodeBase64(digest) : encodeBase64Url(digest)}`;
}

export function sha256(text: string): Buffer {
  return hash("sha256", text, "buffer");
}
