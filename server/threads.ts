/** Which thread an event is in: https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts */
import { type EventId, isEventId } from "../spec/identifiers.ts";
import type { StoredEvent } from "../storage/events.ts";

/** A thread root, or `main` for what is in no thread; thread roots themselves are in `main`. */
export type ThreadId = EventId | "main";

/** Finds events by ID. */
export interface FindEvents {
  listByIds(ids: Iterable<EventId>): Promise<ReadonlyMap<EventId, StoredEvent>>;
}

/** Relations that are followed to find a thread: as many as the specification recommends. */
const MAX_HOPS = 3;

/** Follows an event's relations, within its room, until one says that it is in a thread. */
export async function threadOf(event: StoredEvent, events: FindEvents): Promise<ThreadId> {
  let at: StoredEvent | undefined = event;
  for (let hop = 1; hop <= MAX_HOPS; hop += 1) {
    const { relatesTo, relType }: StoredEvent = at;
    if (relatesTo === undefined || !isEventId(relatesTo)) return "main";
    if (relType === "m.thread") return relatesTo;
    at = (await events.listByIds([relatesTo])).get(relatesTo);
    if (at === undefined || at.roomNid !== event.roomNid) return "main";
  }
  return "main";
}
