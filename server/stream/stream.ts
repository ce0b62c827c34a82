/**
 * The stream as a process sees it: where to append, and the tail to read from.
 *
 * The tail is the newest entries, contiguous, in memory. What this process commits enters it at once;
 * what others commit is read from PostgreSQL when the bus, a hole in the ranges or a look at the head
 * says that it is there.
 */
import type { Bus } from "../bus/bus.ts";
import type { Database } from "../../storage/database.ts";
import * as events from "../../storage/events.ts";
import * as storedStream from "../../storage/stream.ts";
import type { StoredEvent } from "../../storage/events.ts";
import type { Entry } from "../../storage/stream.ts";
import {
  type Appended,
  type Committed,
  openStreamWriter,
  type Unit,
} from "../../storage/stream-writer.ts";

export type { Appended, Unit } from "../../storage/stream-writer.ts";
export { type Consumer, startConsumer } from "./consumer.ts";
export { ConflictError, UnavailableError } from "../../storage/stream-writer.ts";
export type { Entry, NewEntry } from "../../storage/stream.ts";

/** Hears of entries, in order, without a gap, each once. It must not throw and must not wait. */
export type Listener = (entries: readonly Entry[]) => void;

export interface Stream extends AsyncDisposable {
  /** The newest position of which this process's listeners know. */
  readonly position: number;
  /** Changes when the stream was restored, or lost its tail: tokens of another epoch are void. */
  readonly epoch: number;
  /**
   * Appends and commits. Resolves when it is on disk and every listener of this process was told.
   *
   * @throws ConflictError, UnavailableError, or what the unit's `write` threw
   */
  append<T = undefined>(unit: Unit<T>): Promise<Appended<T>>;
  /** The entries after a position, oldest first; undefined where the tail does not reach back so far. */
  after(position: number): readonly Entry[] | undefined;
  /** The same, from PostgreSQL where the tail does not cover it; at most `limit`, events with their subject. */
  read(position: number, limit: number): Promise<readonly Entry[]>;
  /** @returns ends the subscription */
  subscribe(listener: Listener): () => void;
  /** Resolves when this process knows of a position; rejects with the signal's reason. */
  reached(position: number, signal?: AbortSignal): Promise<void>;
}

export interface StreamOptions {
  database: Database;
  bus: Bus;
  /** Names this process on the bus. */
  processId: string;
  /** Is told of a read that failed; it is tried again. */
  onError(error: unknown): void;
  /** Entries that the tail holds. */
  tailEntries?: number;
  /** How often the head is looked at, in case the bus lost a message. */
  pollMs?: number;
}

/** Most ids that a range on the bus names. */
const MAX_HINTS = 200;

/** Opens the stream at its present head. */
export async function openStream(options: StreamOptions): Promise<Stream> {
  const { database, bus, processId, tailEntries = 50_000, pollMs = 2000 } = options;
  const head = await storedStream.head(database.db);
  let { epoch, position } = head;
  /** Contiguous; `tail[i].position === tailStart + i + 1`. */
  let tail: Entry[] = [];
  let tailStart = position;
  /** Committed here, but after a hole that is still being read. */
  const ahead = new Map<number, Committed>();
  /** A position that exists, as far as we were told. */
  let known = position;
  let filling: Promise<void> | undefined;
  /** The events in the tail, which redactions that follow mark. */
  const tailEvents = new Map<string, StoredEvent>();
  const listeners = new Set<Listener>();
  const waiters = new Set<{ position: number; resolve(): void }>();

  function accept(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    for (const entry of entries) {
      tail.push(entry);
      const { subject } = entry;
      if (subject === undefined) continue;
      tailEvents.set(subject.eventId, subject);
      const redacts = entry.data?.["redacts"];
      const target = typeof redacts === "string" ? tailEvents.get(redacts) : undefined;
      if (target !== undefined) target.redactedBy ??= subject.eventId;
    }
    position += entries.length;
    if (tail.length > tailEntries * 1.25) {
      const drop = tail.length - tailEntries;
      for (const { subject } of tail.slice(0, drop)) {
        if (subject !== undefined) tailEvents.delete(subject.eventId);
      }
      tail = tail.slice(drop);
      tailStart += drop;
    }
    for (const listener of listeners) listener(entries);
    for (const waiter of waiters) {
      if (waiter.position <= position) {
        waiters.delete(waiter);
        waiter.resolve();
      }
    }
  }

  function acceptAhead(): void {
    for (let next = ahead.get(position); next !== undefined; next = ahead.get(position)) {
      ahead.delete(next.from);
      accept(next.entries);
    }
    for (const [from, committed] of ahead) if (committed.to <= position) ahead.delete(from);
  }

  function onCommit(committed: Committed): void {
    for (const { subject, position: at } of committed.entries) {
      if (subject === undefined) continue;
      subject.position = at;
      subject.order = { position: at, offset: 0 };
    }
    epoch = committed.epoch;
    known = Math.max(known, committed.to);
    if (committed.from === position) accept(committed.entries);
    else if (committed.to > position) ahead.set(committed.from, committed);
    acceptAhead();
    if (position < known) fill();
    bus.publish({
      from: committed.from,
      to: committed.to,
      origin: processId,
      hints: hintsOf(committed.entries),
    });
  }

  /** Reads what lies between the tail and the known head, until there is nothing. */
  function fill(): void {
    filling ??= (async () => {
      while (position < known) {
        const next = Math.min(known, ...[...ahead.keys()].filter((from) => from > position));
        const entries = await hydrate(await storedStream.range(database.db, position, next));
        // A commit of our own may have come in between: take only what is still news.
        const news = entries.filter((entry) => entry.position > position);
        if (entries.length === 0) throw new Error(`the stream has a gap after ${position}`);
        accept(news);
        acceptAhead();
      }
    })()
      .catch((error: unknown) => {
        options.onError(error);
        known = position;
      })
      .finally(() => {
        filling = undefined;
        if (position < known) fill();
      });
  }

  /** Gives entries of events, as read from PostgreSQL, their events. */
  async function hydrate(entries: Entry[]): Promise<Entry[]> {
    const nids = entries.flatMap((e) =>
      e.kind === "event" && e.eventNid !== undefined ? [e.eventNid] : [],
    );
    const byNid = new Map(
      (await events.listByNids(database.db, nids)).map((event) => [event.nid, event]),
    );
    return entries.map((entry) => {
      const subject = entry.eventNid === undefined ? undefined : byNid.get(entry.eventNid);
      return subject === undefined ? entry : { ...entry, subject };
    });
  }

  async function look(): Promise<void> {
    const found = await storedStream.head(database.db);
    epoch = found.epoch;
    if (found.position > position) {
      known = Math.max(known, found.position);
      fill();
    }
  }

  const writer = openStreamWriter(database, onCommit);
  const unsubscribe = bus.subscribe((range) => {
    if (range === undefined) look().catch(options.onError);
    else if (range.origin !== processId && range.to > position) {
      // A range is only a hint, and may be forged: the head says whether there is anything.
      look().catch(options.onError);
    }
  });
  const poll = setInterval(() => {
    look().catch(options.onError);
  }, pollMs);
  poll.unref();

  const stream: Stream = {
    get position() {
      return position;
    },
    get epoch() {
      return epoch;
    },
    async append(unit) {
      const appended = await writer.append(unit);
      const last = appended.positions.at(-1);
      if (last !== undefined && last > position) await stream.reached(last);
      return appended;
    },
    after(from) {
      return from < tailStart ? undefined : tail.slice(from - tailStart);
    },
    async read(from, limit) {
      const cached = stream.after(from);
      if (cached !== undefined) return cached.slice(0, limit);
      return hydrate(await storedStream.range(database.db, from, position, limit));
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    reached(wanted, signal) {
      if (wanted <= position) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const waiter = { position: wanted, resolve };
        waiters.add(waiter);
        signal?.addEventListener(
          "abort",
          () => {
            if (waiters.delete(waiter)) reject(signal.reason as Error);
          },
          { once: true },
        );
      });
    },
    async [Symbol.asyncDispose]() {
      clearInterval(poll);
      await writer[Symbol.asyncDispose]();
      unsubscribe();
      await filling;
    },
  };
  return stream;
}

function hintsOf(entries: readonly Entry[]): string[] | undefined {
  const ids = new Set<string>();
  for (const { roomId, userId } of entries) {
    if (roomId !== undefined) ids.add(roomId);
    if (userId !== undefined) ids.add(userId);
    if (ids.size > MAX_HINTS) return undefined;
  }
  return [...ids];
}
