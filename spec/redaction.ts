/** Redaction: https://spec.matrix.org/v1.19/client-server-api/#redactions */
import type { Kept, RoomVersion } from "./room-versions.ts";
import { isObject, type JsonObject } from "./shape.ts";

/**
 * What is left of an event after redaction.
 *
 * @param event as it is on the wire, or with more keys; only read
 * @returns a new object; what it holds may be shared with the event
 */
export function redact(
  event: JsonObject,
  { redaction }: Pick<RoomVersion, "redaction">,
): JsonObject {
  const redacted: JsonObject = {};
  for (const key of Object.keys(event)) {
    if (key !== "content" && redaction.keys.has(key)) redacted[key] = event[key];
  }
  redacted["content"] = redactContent(event["type"], event["content"], { redaction });
  return redacted;
}

/** What is left of the content of an event of a type; `{}` where it is no object. */
export function redactContent(
  type: unknown,
  content: unknown,
  { redaction }: Pick<RoomVersion, "redaction">,
): JsonObject {
  if (typeof type !== "string" || !Object.hasOwn(redaction.content, type)) return {};
  const left = keep(content, redaction.content[type]!);
  return isObject(left) ? left : {};
}

/** The part of a value that is kept; undefined for none. */
function keep(value: unknown, kept: Kept): unknown {
  if (kept === true) return value;
  if (!isObject(value)) return undefined;
  const left: JsonObject = {};
  for (const key of Object.keys(kept)) {
    if (!Object.hasOwn(value, key)) continue;
    const member = keep(value[key], kept[key]!);
    if (member !== undefined) left[key] = member;
  }
  return left;
}
