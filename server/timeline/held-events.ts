/**
 * Stored events in memory, shared by all who read them: state events above all.
 *
 * An event never changes but for the redaction that comes to apply to it, which the stream tells.
 */
import { LRUCache } from "lru-cache";
import type { EventId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as events from "../../storage/events.ts";
import type { StoredEvent } from "../../storage/events.ts";
import type { Entry, Stream } from "../stream/stream.ts";

/** Characters of JSON that are kept. */
const MAX_CHARACTERS = 64 * 1024 * 1024;
/** Redactions remembered for reads that began before them. */
const MAX_REDACTIONS = 10_000;

export class HeldEvents implements Disposable {
  readonly #db: Database["db"];
  readonly #byNid: LRUCache<number, StoredEvent>;
  readonly #byId = new Map<EventId, StoredEvent>();
  readonly #redactions = new LRUCache<EventId, EventId>({ max: MAX_REDACTIONS });
  readonly #unsubscribe: () => void;

  constructor(database: Pick<Database, "db">, stream: Pick<Stream, "subscribe">) {
    this.#db = database.db;
    this.#byNid = new LRUCache({
      maxSize: MAX_CHARACTERS,
      sizeCalculation: ({ json }) => json.length + 500,
      dispose: (event) => {
        if (this.#byId.get(event.eventId) === event) this.#byId.delete(event.eventId);
      },
    });
    this.#unsubscribe = stream.subscribe((entries) => {
      for (const entry of entries) this.#follow(entry);
    });
  }

  /** Events by nid; unknown ones are left out. */
  async list(nids: Iterable<number>): Promise<Map<number, StoredEvent>> {
    const found = new Map<number, StoredEvent>();
    const missing: number[] = [];
    for (const nid of new Set(nids)) {
      const event = this.#byNid.get(nid);
      if (event === undefined) missing.push(nid);
      else found.set(nid, event);
    }
    for (const event of await events.listByNids(this.#db, missing)) {
      found.set(event.nid, this.shared(event));
    }
    return found;
  }

  /** Events by ID; unknown ones are left out. */
  async listByIds(ids: Iterable<EventId>): Promise<Map<EventId, StoredEvent>> {
    const found = new Map<EventId, StoredEvent>();
    const missing: EventId[] = [];
    for (const id of new Set(ids)) {
      const event = this.#byId.get(id);
      if (event === undefined) missing.push(id);
      else found.set(id, event);
    }
    for (const event of await events.listByIds(this.#db, missing)) {
      found.set(event.eventId, this.shared(event));
    }
    return found;
  }

  /** The one object that all readers of an event share, with the redaction that now applies. */
  shared(event: StoredEvent): StoredEvent {
    const held = this.#byNid.get(event.nid);
    if (held === event) return event;
    if (held !== undefined) {
      if (event.redactedBy !== undefined) held.redactedBy ??= event.redactedBy;
      return held;
    }
    const redactedBy = this.#redactions.get(event.eventId);
    if (redactedBy !== undefined) event.redactedBy ??= redactedBy;
    this.#byNid.set(event.nid, event);
    this.#byId.set(event.eventId, event);
    return event;
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  #follow({ kind, subject, data }: Entry): void {
    if (kind !== "event" || subject === undefined) return;
    const redacts = data?.["redacts"];
    if (typeof redacts === "string") {
      this.#redactions.set(redacts as EventId, subject.eventId);
      const target = this.#byId.get(redacts as EventId);
      if (target !== undefined) target.redactedBy ??= subject.eventId;
    }
    this.shared(subject);
  }
}
