/**
 * Transaction IDs, shown to the device that sent the event and to nobody else.
 * https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers
 */
import { LRUCache } from "lru-cache";
import type { EventId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as events from "../../storage/events.ts";
import type { StoredEvent } from "../../storage/events.ts";

const CACHED = 50_000;

export class TransactionIds {
  readonly #db: Database["db"];
  /** By device and event; an empty string where the device did not send it. */
  readonly #known = new LRUCache<string, string>({ max: CACHED });

  constructor(database: Pick<Database, "db">) {
    this.#db = database.db;
  }

  /** The IDs under which a device sent some of these events. */
  async of(
    viewer: { userId: UserId; deviceId?: string | undefined },
    of: readonly StoredEvent[],
  ): Promise<ReadonlyMap<EventId, string>> {
    const { userId, deviceId } = viewer;
    const found = new Map<EventId, string>();
    if (deviceId === undefined) return found;
    const unknown: EventId[] = [];
    for (const { sender, eventId } of of) {
      if (sender !== userId) continue;
      const known = this.#known.get(`${userId}\0${deviceId}\0${eventId}`);
      if (known === undefined) unknown.push(eventId);
      else if (known !== "") found.set(eventId, known);
    }
    if (unknown.length === 0) return found;
    const stored = await events.listTransactionIds(this.#db, userId, deviceId, unknown);
    for (const eventId of unknown) {
      const id = stored.get(eventId) ?? "";
      this.#known.set(`${userId}\0${deviceId}\0${eventId}`, id);
      if (id !== "") found.set(eventId, id);
    }
    return found;
  }
}
