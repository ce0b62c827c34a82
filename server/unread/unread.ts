/**
 * What users are notified about, and what of it is unread:
 * https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
 *
 * A consumer of the stream evaluates push rules and follows receipts, in the order of the stream, so that
 * the counts are those of one point of it.
 */
import { type RoomId, serverNameOf, type UserId } from "../../spec/identifiers.ts";
import type { Database, Tx } from "../../storage/database.ts";
import { contentOf, type StoredEvent } from "../../storage/events.ts";
import * as notifications from "../../storage/notifications.ts";
import type { ReceiptData } from "../../storage/stream.ts";
import { isShown, memberOf } from "../memberships/memberships.ts";
import { PUSH_RULES } from "../push-rules/push-rules.ts";
import { repeat } from "../repeating.ts";
import type { Rooms } from "../rooms/rooms.ts";

import { type Consumer, type Entry, startConsumer, type Stream } from "../stream/stream.ts";
import { threadOf } from "../threads.ts";
import type { Timeline, Viewer } from "../timeline/timeline.ts";
import { type Audience, Audiences } from "./audiences.ts";
import { Batch } from "./batch.ts";
import { Counts, type RoomUnread } from "./counts.ts";
import { evaluate, type Recipient } from "./evaluation.ts";
import { listNotifications, type NotificationsPage } from "./notification-list.ts";
import { RuleSets } from "./rule-sets.ts";

export type { RoomUnread, UnreadCount } from "./counts.ts";
export type { NotificationsPage } from "./notification-list.ts";

export interface UnreadOptions {
  database: Pick<Database, "db">;
  stream: Stream;
  rooms: { writer: Pick<Rooms["writer"], "findHead"> };
  timeline: Pick<Timeline, "held" | "visibility" | "clientEvents">;
  isLocal(serverName: string): boolean;
  /** ms since the epoch. */
  clock: () => number;
  onError(error: unknown): void;
}

export interface Unread extends AsyncDisposable {
  /** The counts take account of everything up to here. */
  readonly position: number;
  /** Resolves when they take account of everything up to a position. */
  reached(position: number, signal?: AbortSignal): Promise<void>;
  /** Rooms without unread notifications may be left out. */
  counts(userId: UserId, roomIds: readonly RoomId[]): Promise<ReadonlyMap<RoomId, RoomUnread>>;
  /** A page of what a user was notified about, newest first. */
  notifications(
    viewer: Viewer,
    which: { before: number | undefined; isHighlight: boolean; limit: number },
  ): Promise<NotificationsPage>;
  /** Removes notifications that were read long ago; it also happens by itself. */
  sweep(): Promise<void>;
}

const CONSUMER = "push";
/** Entries that are handled together: a message may notify thousands. */
const BATCH_ENTRIES = 32;
const IGNORED_USERS = "m.ignored_user_list";
/** How often an event is tried again that could not be evaluated. */
const MAX_FAILURES = 3;
/** How long read notifications are kept, in ms. */
const KEPT_MS = 30 * 24 * 3_600_000;
const SWEEP_MS = 3_600_000;
const SWEEP_ROWS = 10_000;

export async function openUnread(options: UnreadOptions): Promise<Unread> {
  const { database, stream, timeline, clock, onError } = options;
  const counts = new Counts(database, CONSUMER);
  const work = new PushWork(options, counts);
  const consumer: Consumer = await startConsumer({
    name: CONSUMER,
    stream,
    database,
    concerns: isRelevant,
    handle: (entries, commit) => work.handle(entries, commit),
    from: "start",
    batchEntries: BATCH_ENTRIES,
    onError,
  });

  async function sweep(): Promise<void> {
    const ts = clock() - KEPT_MS;
    let removed: number;
    do {
      removed = await database.db
        .transaction()
        .execute((tx) => notifications.removeReadBefore(tx, ts, SWEEP_ROWS));
    } while (removed === SWEEP_ROWS);
  }
  const sweeps = repeat(sweep, { firstMs: SWEEP_MS, everyMs: SWEEP_MS, onError });

  return {
    get position() {
      return consumer.position;
    },
    reached: (position, signal) => consumer.reached(position, signal),
    counts: (userId, roomIds) => counts.of(userId, roomIds),
    notifications: (viewer, which) => listNotifications({ database, timeline }, viewer, which),
    sweep,
    async [Symbol.asyncDispose]() {
      await sweeps[Symbol.asyncDispose]();
      await consumer[Symbol.asyncDispose]();
    },
  };
}

function isRelevant({ kind, subject, data }: Entry): boolean {
  if (kind === "event") return isShown(subject);
  if (kind === "account_data") {
    const type = data?.["type"];
    return type === PUSH_RULES || type === IGNORED_USERS;
  }
  return kind === "receipt";
}

class PushWork {
  readonly #options: UnreadOptions;
  readonly #counts: Counts;
  readonly #ruleSets: RuleSets;
  readonly #audiences: Audiences;
  /** The last event that could not be evaluated, and how often. */
  #failed = { position: 0, count: 0 };

  constructor(options: UnreadOptions, counts: Counts) {
    this.#options = options;
    this.#counts = counts;
    const { database, timeline } = options;
    this.#ruleSets = new RuleSets(database);
    this.#audiences = new Audiences({
      database,
      held: timeline.held,
      isLocal: (userId) => this.#isLocal(userId),
    });
  }

  async handle(
    entries: readonly Entry[],
    commit: (write: (tx: Tx) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const batch = new Batch();
    for (const entry of entries) {
      if (entry.kind === "event") await this.#tryEvent(entry, batch);
      else if (entry.kind === "receipt") await this.#receipt(entry, batch);
      else if (entry.userId !== undefined) this.#ruleSets.forget(entry.userId);
    }
    const last = entries.at(-1);
    if (batch.isEmpty || last === undefined) return;
    await commit(async (tx) => {
      // Every process does the work, for its own counts; the first writes it.
      const done = await notifications.lockCursor(tx, CONSUMER);
      await batch.write(tx, done);
    });
    batch.apply(this.#counts);
    this.#counts.reach(last.position);
  }

  /** One event that cannot be evaluated must not stop all that come after it. */
  async #tryEvent(entry: Entry, batch: Batch): Promise<void> {
    try {
      await this.#event(entry, batch);
    } catch (error) {
      const { position } = entry;
      const { count } = this.#failed;
      this.#failed = { position, count: this.#failed.position === position ? count + 1 : 1 };
      // The database may be away: then this batch cannot be written either, and is tried again.
      if (this.#failed.count <= MAX_FAILURES) throw error;
      this.#options.onError(error);
    }
  }

  async #event({ position, subject, data }: Entry, batch: Batch): Promise<void> {
    if (subject === undefined) return;
    const { roomId, roomNid, eventId, sender } = subject;
    const target = memberOf({ kind: "event", position, subject });
    if (target !== undefined) {
      const change = await this.#audiences.follow(subject, position);
      // An invite has been answered; of a room that was left nothing is unread.
      if (change !== undefined) {
        const reading = { userId: target, roomId, roomNid, threadId: undefined };
        batch.read({ ...reading, upTo: position, at: position });
      }
    }
    const audience = await this.#audiences.of(subject);
    const redacts = data?.["redacts"];
    if (typeof redacts === "string") await this.#redaction(subject, redacts, audience, batch);
    if (subject.redactedBy !== undefined) return;
    const threadId = await threadOf(subject, this.#options.timeline.held);
    if (audience.members.has(sender) && subject.type !== "m.room.member") {
      const reading = { userId: sender, roomId, roomNid, threadId };
      batch.read({ ...reading, upTo: position, at: position });
    }
    const recipients = await this.#recipients(subject, position, audience, target);
    if (recipients.length === 0) return;
    const head = await this.#options.rooms.writer.findHead(roomId);
    if (head === undefined) return;
    const room = {
      memberCount: audience.members.size + (audience.remote ?? 0),
      powerLevels: await head.powerLevels(),
    };
    const ts = this.#options.clock();
    for (const { actions, isHighlight, users } of evaluate(subject, room, recipients)) {
      batch.notify({
        position,
        eventId,
        roomId,
        roomNid,
        threadId,
        isHighlight,
        actions,
        ts,
        users,
      });
    }
  }

  /** Local members who were there at the event, and who is invited by it; never its sender. */
  async #recipients(
    { sender, type, json }: StoredEvent,
    position: number,
    audience: Audience,
    target: UserId | undefined,
  ): Promise<Recipient[]> {
    const userIds: UserId[] = [];
    for (const [userId, { since }] of audience.members) {
      if (userId !== sender && since <= position) userIds.push(userId);
    }
    let invited: UserId | undefined;
    if (type === "m.room.member" && target !== undefined && this.#isLocal(target)) {
      if (contentOf({ json })["membership"] === "invite") invited = target;
    }
    if (invited !== undefined && !audience.members.has(invited)) userIds.push(invited);
    if (userIds.length === 0) return [];
    const settings = await this.#ruleSets.of(userIds);
    const asking = userIds.filter((userId) => settings.get(userId)?.ruleSet.asksName === true);
    if (asking.length > 0) await this.#audiences.loadNames(audience, asking);
    return userIds.flatMap((userId) => {
      const own = settings.get(userId);
      const displayName = audience.members.get(userId)?.displayName ?? undefined;
      return own === undefined ? [] : [{ userId, settings: own, displayName }];
    });
  }

  async #redaction(
    { roomId, roomNid }: StoredEvent,
    redacts: string,
    { members }: Audience,
    batch: Batch,
  ): Promise<void> {
    const id = redacts as StoredEvent["eventId"];
    const target = (await this.#options.timeline.held.listByIds([id])).get(id);
    if (target?.position === undefined || target.roomNid !== roomNid) return;
    batch.remove(id, { roomId, position: target.position, users: [...members.keys()] });
  }

  async #receipt({ position, roomId, userId, data }: Entry, batch: Batch): Promise<void> {
    if (roomId === undefined || userId === undefined || !this.#isLocal(userId)) return;
    // What the receipts' own writer appended.
    const { event_id: eventId, thread_id: threadId } = data as unknown as ReceiptData;
    const event = (await this.#options.timeline.held.listByIds([eventId])).get(eventId);
    if (event?.order === undefined || event.roomId !== roomId) return;
    const { roomNid, order } = event;
    // History that was fetched later stands before the event of its position.
    const upTo = order.offset < 0 ? order.position - 1 : order.position;
    batch.read({ userId, roomId, roomNid, threadId, upTo, at: position });
  }

  #isLocal(userId: UserId): boolean {
    return this.#options.isLocal(serverNameOf(userId));
  }
}
