/**
 * Relations to new events, in memory: an event that this process saw arrive can only have children
 * that it saw arrive too, so that fresh events, which are most of what is read, ask no database.
 */
import type { EventId } from "../../spec/identifiers.ts";
import type { StoredEvent } from "../../storage/events.ts";
import type { Stream } from "../stream/stream.ts";

/** Children that are remembered. */
const MAX_CHILDREN = 100_000;

export class RecentRelations implements Disposable {
  #since: number;
  #children = new Map<EventId, StoredEvent[]>();
  #count = 0;
  readonly #unsubscribe: () => void;

  constructor(stream: Pick<Stream, "position" | "subscribe">) {
    this.#since = stream.position;
    this.#unsubscribe = stream.subscribe((entries) => {
      for (const { subject, position } of entries) {
        if (subject?.relatesTo !== undefined) this.#add(subject.relatesTo, subject, position);
      }
    });
  }

  /** All children of an event, oldest first; undefined where the database has to be asked. */
  childrenOf({ eventId, position }: StoredEvent): readonly StoredEvent[] | undefined {
    if (position === undefined || position <= this.#since) return undefined;
    return this.#children.get(eventId) ?? [];
  }

  #add(parent: EventId, child: StoredEvent, position: number): void {
    if (this.#count >= MAX_CHILDREN) {
      this.#children = new Map();
      this.#count = 0;
      this.#since = position;
    }
    this.#count += 1;
    const siblings = this.#children.get(parent);
    if (siblings === undefined) this.#children.set(parent, [child]);
    else siblings.push(child);
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}
