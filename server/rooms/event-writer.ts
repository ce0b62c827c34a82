/**
 * Makes events: builds them on a room's head, asks the auth rules, signs, commits.
 *
 * Within a process the events of a room are built one after the other, each on the one before, without
 * waiting for its commit, so that a busy room fills whole batches. Across processes the head's version
 * decides: who built on an old head loses, reads the head anew, and plans again.
 */
import { LRUCache } from "lru-cache";
import { authEventKeys } from "../../spec/auth-events.ts";
import { authorise } from "../../spec/auth-rules.ts";
import { MatrixError } from "../../spec/errors.ts";
import { buildEvent, referenceTo, type RoomEvent, type Signer } from "../../spec/event-format.ts";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import type { RoomVersion } from "../../spec/room-versions.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { isInviteSignedWith } from "../../spec/third-party-invites.ts";
import type { Database, Tx } from "../../storage/database.ts";
import type { EventRows } from "../../storage/event-rows.ts";
import type { StoredEvent } from "../../storage/events.ts";
import type { Nids } from "../../storage/nids.ts";
import type { Membership } from "../../storage/rooms.ts";
import { ConflictError, type NewEntry, type Stream } from "../stream/stream.ts";
import { EventBatch, storedEvent } from "./event-batch.ts";
import { Mutex } from "./mutex.ts";
import { authLookup, type HeldEvent, RoomHead } from "./room-head.ts";
import type { StateStore } from "./state-store.ts";

/** An event as its sender wants it; the writer adds what follows from the room's head. */
export interface EventDraft {
  type: string;
  sender: UserId;
  content: JsonObject;
  stateKey?: string;
  /** What an `m.room.redaction` redacts, in this room; it will apply. */
  redacts?: EventId;
  originServerTs?: number;
}

/** A client's transaction ID: https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers */
export interface TransactionKey {
  userId: UserId;
  deviceId: string;
  scope: string;
  txnId: string;
}

/** What is to be written into a room, decided under the room's lock. */
export interface Plan {
  drafts: readonly EventDraft[];
  /** Belongs to the first draft. */
  transaction?: TransactionKey;
  /** Further entries and writes, in the same commit. */
  entries?: readonly NewEntry[];
  write?(tx: Tx): Promise<void>;
}

export interface NewRoomSpec {
  version: RoomVersion;
  isPublished: boolean;
}

export interface EventWriterDeps {
  database: Pick<Database, "db">;
  stream: Stream;
  nids: Nids;
  states: StateStore;
  signer: Signer;
  clock(): number;
  isLocal(serverName: string): boolean;
  newRoomId(): RoomId;
}

/** Heads that are kept. */
const HEADS = 5000;
/** How often a lost race is run again. */
const MAX_ATTEMPTS = 10;
/** https://spec.matrix.org/v1.19/server-server-api/#pdu-fields */
const MAX_PREV_EVENTS = 20;

interface Prepared {
  events: StoredEvent[];
  committed: Promise<unknown>;
  head: RoomHead;
}

export class EventWriter {
  readonly #deps: EventWriterDeps;
  readonly #heads = new LRUCache<RoomId, RoomHead>({ max: HEADS });
  readonly #loading = new Map<RoomId, Promise<RoomHead | undefined>>();
  readonly #locks = new Mutex<RoomId>();
  readonly #unsubscribe: () => void;
  /** The time in the newest create event, in ms. */
  #lastCreated = 0;

  constructor(deps: EventWriterDeps) {
    this.#deps = deps;
    this.#unsubscribe = deps.stream.subscribe((entries) => {
      for (const { kind, roomId, eventNid, data } of entries) {
        if (kind !== "event" || roomId === undefined || eventNid === undefined) continue;
        const head = this.#heads.peek(roomId);
        if (head === undefined) continue;
        if (!head.pending.delete(eventNid)) this.#heads.delete(roomId);
        else if (typeof data?.["redacts"] === "string") head.forget(data["redacts"] as EventId);
      }
    });
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  /**
   * The head of a room.
   *
   * @throws MatrixError M_NOT_FOUND for a room we know nothing of
   */
  async head(roomId: RoomId): Promise<RoomHead> {
    const head = await this.findHead(roomId);
    if (head === undefined) throw new MatrixError("M_NOT_FOUND", "no such room");
    return head;
  }

  async findHead(roomId: RoomId): Promise<RoomHead | undefined> {
    const held = this.#heads.get(roomId);
    if (held !== undefined) return held;
    let loading = this.#loading.get(roomId);
    if (loading === undefined) {
      loading = this.#load(roomId).finally(() => this.#loading.delete(roomId));
      this.#loading.set(roomId, loading);
    }
    return loading;
  }

  async #load(roomId: RoomId): Promise<RoomHead | undefined> {
    const head = await RoomHead.load(this.#deps.database.db, roomId);
    if (head !== undefined) this.#heads.set(roomId, head);
    return head;
  }

  /**
   * Writes events into a room, all or none.
   *
   * @param plan decides what to write, on the head it is given; called again after a lost race
   * @returns the events as committed, in the plan's order
   * @throws MatrixError M_FORBIDDEN where the auth rules refuse, M_TOO_LARGE, M_BAD_JSON
   */
  async write(roomId: RoomId, plan: (head: RoomHead) => Promise<Plan>): Promise<StoredEvent[]> {
    for (let attempt = 1; ; attempt += 1) {
      const prepared = await this.#locks.run(roomId, async () => {
        const head = await this.head(roomId);
        return this.#prepare(head, await plan(head));
      });
      try {
        await prepared.committed;
        return prepared.events;
      } catch (error) {
        if (this.#heads.peek(roomId) === prepared.head) this.#heads.delete(roomId);
        if (!(error instanceof ConflictError) || attempt >= MAX_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * Creates a room with its first events, in one commit.
   *
   * @param plan the drafts after the create event, once the room's ID is known; called again where the
   *   ID turns out to be taken
   */
  async create(
    spec: NewRoomSpec,
    create: EventDraft,
    plan: (roomId: RoomId) => Promise<Plan> | Plan,
  ): Promise<{ roomId: RoomId; events: StoredEvent[] }> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#create(spec, create, plan);
      } catch (error) {
        if (!(error instanceof ConflictError) || attempt >= MAX_ATTEMPTS) throw error;
      }
    }
  }

  async #create(
    spec: NewRoomSpec,
    create: EventDraft,
    plan: (roomId: RoomId) => Promise<Plan> | Plan,
  ): Promise<{ roomId: RoomId; events: StoredEvent[] }> {
    const { nids, states, signer, clock, newRoomId, database } = this.#deps;
    const { version } = spec;
    // From version 12 on only the time tells two rooms of one creator apart.
    const now = Math.max(clock(), this.#lastCreated + 1);
    this.#lastCreated = now;
    const event = buildEvent(
      {
        ...(version.roomIdIsCreateEvent ? {} : { room_id: newRoomId() }),
        ...this.#assignedId(version),
        type: create.type,
        sender: create.sender,
        content: create.content,
        state_key: "",
        origin_server_ts: now,
        depth: 1,
        prev_events: [],
        auth_events: [],
      },
      version,
      signer,
    );
    this.#check(event, [], version);
    const [roomNid, eventNid] = (await nids.take(2)) as [number, number];
    const held: HeldEvent = { ...event, nid: eventNid };
    const { roomId } = event;
    const empty = await states.derive(roomNid, undefined, []);
    const snapshot = await states.derive(roomNid, empty.nid, [
      { type: create.type, stateKey: "", eventNid },
    ]);
    const head = new RoomHead(
      database.db,
      {
        nid: roomNid,
        roomId,
        version,
        headVersion: 0,
        depth: 0,
        snapshotNid: empty.nid,
        isPublished: spec.isPublished,
        forwardExtremities: [],
      },
      new Map(),
    );
    const stored = storedEvent(held, head, empty.nid, snapshot.nid);
    head.advance(held, { snapshotNid: snapshot.nid }, []);
    const batch = new EventBatch(this.#deps.isLocal);
    batch.snapshots.push(empty, snapshot);
    batch.add(held, stored, undefined);
    const { headVersion } = head;
    const prepared = await this.#prepare(head, await plan(roomId), batch, {
      rooms: [
        {
          nid: roomNid,
          roomId,
          roomVersion: version.version,
          creator: create.sender,
          headVersion,
          forwardExtremities: [eventNid],
          snapshotNid: snapshot.nid,
          depth: 1,
          isPublished: spec.isPublished,
          createdTs: now,
        },
      ],
    });
    await prepared.committed;
    return { roomId, events: prepared.events };
  }

  /** Builds a plan's events on the head, moves the head on, and queues the commit. */
  async #prepare(
    head: RoomHead,
    plan: Plan,
    batch = new EventBatch(this.#deps.isLocal),
    rows: EventRows = {},
  ): Promise<Prepared> {
    const { stream, clock } = this.#deps;
    if (plan.drafts.length === 0 && batch.stored.length === 0) {
      return { events: [], committed: Promise.resolve(), head };
    }
    const fromVersion = head.headVersion;
    const pendingBefore = batch.stored.length;
    try {
      for (const draft of plan.drafts) await this.#build(head, draft, batch);
    } catch (error) {
      // The head has perhaps moved on to events that will not be written.
      if (batch.stored.length > pendingBefore || rows.rooms !== undefined) {
        this.#heads.delete(head.roomId);
      }
      throw error;
    }
    const { transaction } = plan;
    const first = batch.stored[0];
    const newRows: EventRows = {
      ...rows,
      ...batch.rows,
      ...(transaction === undefined || first === undefined
        ? {}
        : { transactions: [{ ...transaction, eventId: first.eventId, createdTs: clock() }] }),
      ...(head.headVersion === fromVersion
        ? {}
        : {
            heads: [
              {
                nid: head.nid,
                fromVersion,
                toVersion: head.headVersion,
                forwardExtremities: head.forwardExtremities.map(({ nid }) => nid),
                snapshotNid: head.snapshotNid,
                depth: head.depth,
              },
            ],
          }),
    };
    const { write } = plan;
    const committed = stream.append({
      entries: [...batch.entries, ...(plan.entries ?? [])],
      rows: newRows,
      ...(write === undefined ? {} : { write: (tx: Tx) => write(tx) }),
    });
    // Whoever awaits it comes after the lock is released: until then a failure is nobody's.
    committed.catch(() => undefined);
    return { events: batch.stored, committed, head };
  }

  async #build(head: RoomHead, draft: EventDraft, batch: EventBatch): Promise<void> {
    const { nids, states, signer, clock } = this.#deps;
    const { version } = head;
    const prevEvents = head.forwardExtremities
      .toSorted((a, b) => b.depth - a.depth)
      .slice(0, MAX_PREV_EVENTS);
    const keys = authEventKeys(
      {
        type: draft.type,
        sender: draft.sender,
        content: draft.content,
        ...(draft.stateKey === undefined ? {} : { state_key: draft.stateKey }),
      },
      version,
    );
    const authEvents: HeldEvent[] = [];
    for (const { type, stateKey } of keys) {
      const event = await head.stateEvent(type, stateKey);
      if (event !== undefined) authEvents.push(event);
    }
    const event = buildEvent(
      {
        room_id: head.roomId,
        ...this.#assignedId(version),
        type: draft.type,
        sender: draft.sender,
        content: draft.content,
        ...(draft.stateKey === undefined ? {} : { state_key: draft.stateKey }),
        ...(draft.redacts === undefined ? {} : { redacts: draft.redacts }),
        origin_server_ts: draft.originServerTs ?? clock(),
        depth: Math.min(head.depth + 1, Number.MAX_SAFE_INTEGER),
        prev_events: prevEvents.map(({ reference }) => reference),
        auth_events: authEvents.map((each) => referenceTo(each, version)),
      },
      version,
      signer,
    );
    const create = await head.stateEvent("m.room.create", "");
    this.#check(event, create === undefined ? authEvents : [create, ...authEvents], version);
    const held: HeldEvent = { ...event, nid: await nids.next() };
    const before = head.snapshotNid;
    let after = before;
    let wasMembership: Membership | undefined;
    if (draft.stateKey !== undefined) {
      if (draft.type === "m.room.member") {
        wasMembership = await head.membershipOf(draft.stateKey as UserId);
      }
      const snapshot = await states.derive(head.nid, before, [
        { type: draft.type, stateKey: draft.stateKey, eventNid: held.nid },
      ]);
      batch.snapshots.push(snapshot);
      after = snapshot.nid;
    }
    const stored = storedEvent(held, head, before, after);
    head.advance(held, { snapshotNid: after }, prevEvents);
    head.pending.add(held.nid);
    batch.add(held, stored, wasMembership);
    if (draft.redacts !== undefined) batch.redact(draft.redacts, stored);
  }

  #check(event: RoomEvent, state: readonly RoomEvent[], rules: RoomVersion): void {
    const verdict = authorise({
      event,
      state: authLookup(state),
      rules,
      // Our own signature is on it; that of another server is asked for before it is built.
      signatures: { isSignedBy: () => true, isSignedWith: isInviteSignedWith },
    });
    if (!verdict.allowed) throw new MatrixError("M_FORBIDDEN", verdict.reason);
  }

  #assignedId(version: RoomVersion): { event_id?: EventId } {
    if (version.eventIds !== "assigned") return {};
    const opaque = this.#deps.newRoomId().slice(1).split(":")[0];
    return { event_id: `$${opaque}:${this.#deps.signer.serverName}` };
  }
}
