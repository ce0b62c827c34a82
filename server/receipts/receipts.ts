/** Receipts and read markers: https://spec.matrix.org/v1.19/client-server-api/#receipts */
import { MatrixError } from "../../spec/errors.ts";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import { compareOrder, type StoredEvent, type TimelineOrder } from "../../storage/events.ts";
import * as receipts from "../../storage/receipts.ts";
import type { ReceiptKey, ReceiptType } from "../../storage/receipts.ts";
import type { ReceiptData } from "../../storage/stream.ts";
import type { AccountData } from "../account-data/account-data.ts";
import { isShown, type Memberships } from "../memberships/memberships.ts";
import type { Stream } from "../stream/stream.ts";
import { type ThreadId, threadOf } from "../threads.ts";
import type { Timeline } from "../timeline/timeline.ts";

export type MarkerType = ReceiptType | "m.fully_read";

/** A receipt as its readers get it. */
export interface Receipt {
  roomId: RoomId;
  userId: UserId;
  type: ReceiptType;
  eventId: EventId;
  /** Undefined: unthreaded. */
  threadId?: string | undefined;
  ts: number;
}

export interface ReceiptsOptions {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append">;
  memberships: Pick<Memberships, "load">;
  timeline: { held: Pick<Timeline["held"], "listByIds"> };
  accountData: Pick<AccountData, "find" | "put">;
  /** Is told that a user did something. */
  onActivity?: (userId: UserId) => void;
  /** ms since the epoch. */
  clock: () => number;
}

/** An event of a room's timeline. */
type Read = StoredEvent & { order: TimelineOrder };

/** Receipts on their way to the stream, each with the place that it moves to. */
type Moving = Map<string, { order: TimelineOrder; done: Promise<void> }>;

export class Receipts {
  readonly #options: ReceiptsOptions;
  readonly #moving: Moving = new Map();

  constructor(options: ReceiptsOptions) {
    this.#options = options;
  }

  /**
   * Notes that a user has read up to an event. A receipt never moves back, and one that stands there
   * already is no news to anybody.
   *
   * @param threadId undefined: unthreaded
   * @throws MatrixError M_FORBIDDEN for who is not in the room, M_NOT_FOUND for an event that is not,
   *   M_INVALID_PARAM for a thread that the event is not in, or a type without threads
   */
  async send(
    userId: UserId,
    roomId: RoomId,
    type: MarkerType,
    eventId: EventId,
    threadId?: ThreadId,
  ): Promise<void> {
    await this.#assertJoined(userId, roomId);
    const event = await this.#getEvent(roomId, eventId);
    if (type === "m.fully_read") {
      if (threadId !== undefined) {
        throw new MatrixError("M_INVALID_PARAM", "thread_id: m.fully_read has no threads");
      }
      await this.#moveMarker(userId, event);
    } else {
      if (threadId !== undefined) await this.#checkThread(event, threadId);
      await this.#moveReceipt(userId, type, event, threadId);
    }
    this.#options.onActivity?.(userId);
  }

  /**
   * Moves several at once, unthreaded, after all of them have been checked.
   *
   * @throws MatrixError M_FORBIDDEN, M_NOT_FOUND
   */
  async sendAll(
    userId: UserId,
    roomId: RoomId,
    eventIds: ReadonlyMap<MarkerType, EventId>,
  ): Promise<void> {
    await this.#assertJoined(userId, roomId);
    const events = new Map<MarkerType, Read>();
    for (const [type, eventId] of eventIds) events.set(type, await this.#getEvent(roomId, eventId));
    for (const [type, event] of events) {
      if (type === "m.fully_read") await this.#moveMarker(userId, event);
      else await this.#moveReceipt(userId, type, event, undefined);
    }
    this.#options.onActivity?.(userId);
  }

  /** The receipts in rooms, or those that moved in `(after, upTo]`; of private ones the reader's own. */
  async list(
    roomIds: readonly RoomId[],
    reader: UserId,
    changed?: { after: number; upTo: number },
  ): Promise<Receipt[]> {
    const rows = await receipts.list(this.#options.database.db, roomIds, reader, changed);
    return rows.map((row) => ({
      roomId: row.room_id,
      userId: row.user_id,
      type: row.type,
      eventId: row.event_id,
      threadId: row.thread_id === "" ? undefined : row.thread_id,
      ts: row.ts,
    }));
  }

  async #assertJoined(userId: UserId, roomId: RoomId): Promise<void> {
    const user = await this.#options.memberships.load(userId);
    if (!user.isJoined(roomId)) throw new MatrixError("M_FORBIDDEN", "You are not in the room");
  }

  async #getEvent(roomId: RoomId, eventId: EventId): Promise<Read> {
    const event = (await this.#options.timeline.held.listByIds([eventId])).get(eventId);
    if (!isShown(event) || event.roomId !== roomId || !hasOrder(event)) {
      throw new MatrixError("M_NOT_FOUND", "The room has no such event");
    }
    return event;
  }

  /** An event may be read in the thread it is in, and a thread's root in that thread too. */
  async #checkThread(event: Read, threadId: ThreadId): Promise<void> {
    if (event.eventId === threadId) return;
    if ((await threadOf(event, this.#options.timeline.held)) === threadId) return;
    throw new MatrixError("M_INVALID_PARAM", "thread_id: the event is not in that thread");
  }

  async #moveReceipt(
    userId: UserId,
    type: ReceiptType,
    event: Read,
    threadId: ThreadId | undefined,
  ): Promise<void> {
    const key: ReceiptKey = {
      room_nid: event.roomNid,
      user_id: userId,
      type,
      thread_id: threadId ?? "",
    };
    const name = JSON.stringify(key);
    const before = await receipts.find(this.#options.database.db, key);
    const stands = before && { position: before.order_position, offset: before.order_offset };
    if (stands !== undefined && compareOrder(event.order, stands) <= 0) return;
    const moving = this.#moving.get(name);
    if (moving !== undefined && compareOrder(event.order, moving.order) <= 0) return moving.done;
    const done = this.#append(key, event, threadId).finally(() => {
      if (this.#moving.get(name)?.done === done) this.#moving.delete(name);
    });
    this.#moving.set(name, { order: event.order, done });
    return done;
  }

  async #append(key: ReceiptKey, event: Read, threadId: ThreadId | undefined): Promise<void> {
    const ts = this.#options.clock();
    const { eventId, roomId, order } = event;
    const data: ReceiptData = {
      type: key.type,
      event_id: eventId,
      ...(threadId === undefined ? {} : { thread_id: threadId }),
      ts,
    };
    try {
      await this.#options.stream.append({
        entries: [{ kind: "receipt", roomId, userId: key.user_id, data: { ...data } }],
        async write(tx, [position = 0]) {
          const hasMoved = await receipts.advance(tx, {
            ...key,
            event_id: eventId,
            order_position: order.position,
            order_offset: order.offset,
            ts,
            position,
          });
          if (!hasMoved) throw new Overtaken();
        },
      });
    } catch (error) {
      if (!(error instanceof Overtaken)) throw error;
    }
  }

  /** The fully read marker: https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers */
  async #moveMarker(userId: UserId, event: Read): Promise<void> {
    const { accountData, timeline } = this.#options;
    const place = { userId, roomId: event.roomId, type: "m.fully_read" };
    const before = (await accountData.find(place))?.["event_id"];
    if (typeof before === "string") {
      const id = before as EventId;
      const stands = (await timeline.held.listByIds([id])).get(id);
      if (stands?.order !== undefined && compareOrder(event.order, stands.order) <= 0) return;
    }
    await accountData.put(place, { event_id: event.eventId });
  }
}

/** The receipt was moved further while this one was on its way. */
class Overtaken extends Error {
  override readonly name = "Overtaken";
}

function hasOrder(event: StoredEvent): event is Read {
  return event.order !== undefined;
}
