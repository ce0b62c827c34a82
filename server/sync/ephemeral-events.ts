/** `ephemeral` of a room: who types, and what was read. */
import type { EventMatcher } from "../../spec/filters.ts";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { Receipt } from "./ports.ts";

export interface EphemeralEvent {
  type: string;
  content: JsonObject;
}

/**
 * @param receipts in the order they were sent; of each user, type and thread the last counts
 * @param typing undefined where nothing changed
 */
export function ephemeralEvents(
  roomId: RoomId,
  receipts: readonly Receipt[],
  typing: readonly string[] | undefined,
  filter: EventMatcher,
): EphemeralEvent[] {
  if (!filter.matchesRoom(roomId)) return [];
  const events: EphemeralEvent[] = [];
  if (typing !== undefined) events.push({ type: "m.typing", content: { user_ids: typing } });
  const read = receipts.filter(({ userId }) =>
    filter.matches({ type: "m.receipt", sender: userId }),
  );
  return [
    ...events.filter(({ type }) => filter.matches({ type })),
    ...receiptEvents(read).map((content) => ({ type: "m.receipt", content })),
  ];
}

type ByUser = Record<UserId, { ts: number; thread_id?: string }>;
type ReceiptContent = Record<EventId, Record<string, ByUser>>;

/**
 * https://spec.matrix.org/v1.19/client-server-api/#mreceipt
 *
 * The format has room for one receipt of a user at an event, so where somebody read it in several
 * threads there are several events.
 */
function receiptEvents(receipts: readonly Receipt[]): ReceiptContent[] {
  const latest = new Map<string, Receipt>();
  for (const receipt of receipts) {
    const key = JSON.stringify([receipt.userId, receipt.type, receipt.threadId]);
    latest.delete(key);
    latest.set(key, receipt);
  }
  const contents: ReceiptContent[] = [];
  for (const { userId, type, eventId, threadId, ts } of latest.values()) {
    let content = contents.find((each) => each[eventId]?.[type]?.[userId] === undefined);
    if (content === undefined) contents.push((content = {}));
    const users = ((content[eventId] ??= {})[type] ??= {});
    users[userId] = threadId === undefined ? { ts } : { ts, thread_id: threadId };
  }
  return contents;
}
