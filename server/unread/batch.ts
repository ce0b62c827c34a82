/** What a batch of stream entries does to notifications, gathered in order and written at once. */
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { Tx } from "../../storage/database.ts";
import * as notifications from "../../storage/notifications.ts";
import type { NewNotification, Reading } from "../../storage/notifications.ts";
import type { Counts } from "./counts.ts";

export interface Notified extends NewNotification {
  roomId: RoomId;
  eventId: EventId;
  users: Map<UserId, boolean>;
}

interface RoomReading extends Reading {
  roomId: RoomId;
  /** Stream position of the entry that says so. */
  at: number;
}

interface Removal {
  roomId: RoomId;
  position: number;
  users: readonly UserId[];
}

export class Batch {
  #notified: Notified[] = [];
  readonly #readings: RoomReading[] = [];
  readonly #removals: Removal[] = [];

  get isEmpty(): boolean {
    return this.#notified.length + this.#readings.length + this.#removals.length === 0;
  }

  notify(notified: Notified): void {
    if (notified.users.size > 0) this.#notified.push(notified);
  }

  read(reading: RoomReading): void {
    const { userId, roomNid, threadId, upTo } = reading;
    for (const notified of this.#notified) {
      const isMeant =
        notified.roomNid === roomNid &&
        notified.position <= upTo &&
        (threadId === undefined || notified.threadId === threadId);
      if (isMeant && notified.users.has(userId)) notified.users.set(userId, true);
    }
    this.#readings.push(reading);
  }

  /** Takes back what users were notified about, because it was redacted. */
  remove(eventId: EventId, removal: Removal): void {
    this.#notified = this.#notified.filter((notified) => notified.eventId !== eventId);
    this.#removals.push(removal);
  }

  /**
   * Writes all of it, but for what has been written already, by another process.
   *
   * The order of statements is of no matter: what is read or removed of this batch is marked so in it.
   */
  async write(tx: Tx, after: number): Promise<void> {
    await notifications.markRead(
      tx,
      this.#readings.filter(({ at }) => at > after),
    );
    for (const { position, users } of this.#removals) {
      await notifications.removeAbout(tx, position, users);
    }
    await notifications.add(
      tx,
      this.#notified.filter(({ position }) => position > after),
    );
  }

  /** Brings counts in memory up to date. */
  apply(counts: Counts): void {
    for (const notified of this.#notified) counts.add(notified, notified.position, notified.users);
    for (const reading of this.#readings) counts.read(reading.userId, reading, reading.at);
    for (const { roomId, users } of this.#removals) counts.forget(users, roomId);
  }
}
