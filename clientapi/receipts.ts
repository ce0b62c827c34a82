/** Receipts and read markers: https://spec.matrix.org/v1.19/client-server-api/#receipts */
import type { MarkerType, Receipts } from "../server/receipts/receipts.ts";
import { type Route, route } from "../server/route.ts";
import type { ThreadId } from "../server/threads.ts";
import { type EventId, eventId, isEventId, roomId } from "../spec/identifiers.ts";
import { invalidParam, object, oneOf, optional, refine, string } from "../spec/shape.ts";

const threadId = refine(string, (value, place): ThreadId => {
  if (value !== "main" && !isEventId(value)) throw invalidParam(place, "not main or an event ID");
  return value;
});

export function receipts(receipts: Pick<Receipts, "send" | "sendAll">): Route[] {
  return [
    route({
      method: "POST",
      path: "/_matrix/client/v3/rooms/:roomId/receipt/:receiptType/:eventId",
      aliases: ["/_matrix/client/r0/rooms/:roomId/receipt/:receiptType/:eventId"],
      access: "user",
      params: object({
        roomId,
        receiptType: oneOf("m.read", "m.read.private", "m.fully_read"),
        eventId,
      }),
      body: object({ thread_id: optional(threadId) }),
      emptyBody: true,
      async handle({ caller, params, body }) {
        await receipts.send(
          caller.userId,
          params.roomId,
          params.receiptType,
          params.eventId,
          body.thread_id,
        );
        return {};
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/rooms/:roomId/read_markers",
      aliases: ["/_matrix/client/r0/rooms/:roomId/read_markers"],
      access: "user",
      params: object({ roomId }),
      body: object({
        "m.fully_read": optional(eventId),
        "m.read": optional(eventId),
        "m.read.private": optional(eventId),
      }),
      async handle({ caller, params, body }) {
        const markers = new Map<MarkerType, EventId>();
        for (const type of ["m.fully_read", "m.read", "m.read.private"] as const) {
          const at = body[type];
          if (at !== undefined) markers.set(type, at);
        }
        await receipts.sendAll(caller.userId, params.roomId, markers);
        return {};
      },
    }),
  ];
}
