/**
 * A room's head as this process holds it: what the next event builds on.
 *
 * It runs ahead of the database by what is queued for commit, and is dropped as soon as a commit fails
 * or another process has moved the room.
 */
import { LRUCache } from "lru-cache";
import type { AuthEvent, EventReference } from "../../spec/authorisation.ts";
import {
  readStoredEvent,
  redactEvent,
  referenceTo,
  type RoomEvent,
} from "../../spec/event-format.ts";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import { type PowerLevels, readPowerLevels } from "../../spec/power-levels.ts";
import { type RoomVersion, roomVersions } from "../../spec/room-versions.ts";
import type { Db } from "../../storage/database.ts";
import * as events from "../../storage/events.ts";
import type { StoredEvent } from "../../storage/events.ts";
import * as rooms from "../../storage/rooms.ts";
import type { Membership } from "../../storage/rooms.ts";
import { type PlaceKey, placeKey } from "./state-store.ts";

export interface Extremity {
  nid: number;
  eventId: EventId;
  depth: number;
  reference: EventReference;
}

/** A state event, with the nid under which it is stored. */
export interface HeldEvent extends RoomEvent {
  nid: number;
}

/** State events of one room that are kept parsed. */
const HELD_EVENTS = 2000;

export class RoomHead {
  readonly nid: number;
  readonly roomId: RoomId;
  readonly version: RoomVersion;
  headVersion: number;
  forwardExtremities: Extremity[];
  depth: number;
  snapshotNid: number;
  isPublished: boolean;
  /** Events of this process that are queued for commit. */
  readonly pending = new Set<number>();
  readonly #db: Db;
  /** Current state but for memberships. */
  readonly #state: Map<PlaceKey, number>;
  /** What is known of current state: an event, or that there is none. */
  readonly #held = new LRUCache<PlaceKey, { event: HeldEvent | undefined }>({ max: HELD_EVENTS });
  #powerLevels: PowerLevels | undefined;

  constructor(
    db: Db,
    room: Pick<RoomHead, "nid" | "roomId" | "version" | "headVersion" | "depth" | "snapshotNid"> & {
      forwardExtremities: Extremity[];
      isPublished: boolean;
    },
    state: Map<PlaceKey, number>,
  ) {
    this.#db = db;
    this.nid = room.nid;
    this.roomId = room.roomId;
    this.version = room.version;
    this.headVersion = room.headVersion;
    this.forwardExtremities = room.forwardExtremities;
    this.depth = room.depth;
    this.snapshotNid = room.snapshotNid;
    this.isPublished = room.isPublished;
    this.#state = state;
  }

  /** Reads a room's head; undefined where the room is unknown. */
  static async load(db: Db, roomId: RoomId): Promise<RoomHead | undefined> {
    // One snapshot of the database: a head and a state that do not match would sign a wrong event.
    return db
      .transaction()
      .setIsolationLevel("repeatable read")
      .execute(async (tx) => {
        const room = await rooms.findRoom(tx, roomId);
        if (room === undefined) return undefined;
        const version = versionOf(room.room_version);
        const state = await rooms.listCurrentState(tx, room.nid);
        const extremities = await events.listByNids(tx, room.forward_extremities);
        return new RoomHead(
          db,
          {
            nid: room.nid,
            roomId,
            version,
            headVersion: room.head_version,
            depth: room.depth,
            snapshotNid: room.snapshot_nid,
            isPublished: room.is_published,
            forwardExtremities: extremities.map((event) => extremityOf(event, version)),
          },
          new Map(state.map(([type, stateKey, nid]) => [placeKey(type, stateKey), nid])),
        );
      });
  }

  /** The current state event at a place, redacted where it was redacted. */
  async stateEvent(type: string, stateKey: string): Promise<HeldEvent | undefined> {
    const place = placeKey(type, stateKey);
    const held = this.#held.get(place);
    if (held !== undefined) return held.event;
    const nid =
      type === "m.room.member"
        ? (await rooms.findMembership(this.#db, this.nid, stateKey as UserId))?.event_nid
        : this.#state.get(place);
    const [stored] = nid === undefined ? [] : await events.listByNids(this.#db, [nid]);
    // What was written meanwhile is newer than what was read.
    const now = this.#held.get(place);
    if (now !== undefined) return now.event;
    const event = stored === undefined ? undefined : heldEvent(stored);
    this.#held.set(place, { event });
    return event;
  }

  /** The content of the current state event at a place. */
  async stateContent(type: string, stateKey = ""): Promise<Record<string, unknown> | undefined> {
    return (await this.stateEvent(type, stateKey))?.pdu.content;
  }

  async membershipOf(userId: UserId): Promise<Membership | undefined> {
    const content = await this.stateContent("m.room.member", userId);
    return content?.["membership"] as Membership | undefined;
  }

  async powerLevels(): Promise<PowerLevels> {
    if (this.#powerLevels === undefined) {
      const create = await this.stateEvent("m.room.create", "");
      this.#powerLevels = readPowerLevels(
        await this.stateContent("m.room.power_levels"),
        create === undefined
          ? undefined
          : { sender: create.pdu.sender, content: create.pdu.content },
        this.version,
      );
    }
    return this.#powerLevels;
  }

  /** Moves on to an event that was built on this head. */
  advance(event: HeldEvent, to: { snapshotNid: number }, prevEvents: readonly Extremity[]): void {
    this.headVersion += 1;
    this.depth = Math.max(this.depth, event.depth);
    this.snapshotNid = to.snapshotNid;
    const merged = new Set(prevEvents.map(({ nid }) => nid));
    this.forwardExtremities = [
      ...this.forwardExtremities.filter(({ nid }) => !merged.has(nid)),
      {
        nid: event.nid,
        eventId: event.eventId,
        depth: event.depth,
        reference: referenceTo(event, this.version),
      },
    ];
    const { type, state_key: stateKey } = event.pdu;
    if (stateKey === undefined) return;
    if (type !== "m.room.member") this.#state.set(placeKey(type, stateKey), event.nid);
    this.#held.set(placeKey(type, stateKey), { event });
    if (type === "m.room.power_levels" || type === "m.room.create") this.#powerLevels = undefined;
  }

  /** Forgets the parsed form of an event that has been redacted. */
  forget(eventId: EventId): void {
    for (const [place, { event }] of this.#held) {
      if (event?.eventId === eventId) this.#held.delete(place);
    }
    this.#powerLevels = undefined;
  }
}

/** The rules of a stored room's version. */
export function versionOf(version: string): RoomVersion {
  const rules = roomVersions.get(version);
  if (rules === undefined) throw new Error(`room version ${version} is not supported`);
  return rules;
}

/** A stored event as the rules read it, redacted where a redaction applies. */
export function heldEvent(stored: StoredEvent): HeldEvent {
  const version = versionOf(stored.roomVersion);
  const event = readStoredEvent(stored.json, version, stored);
  const shown = stored.redactedBy === undefined ? event : redactEvent(event, version);
  return { ...shown, nid: stored.nid };
}

function extremityOf(stored: StoredEvent, version: RoomVersion): Extremity {
  const event = readStoredEvent(stored.json, version, stored);
  return {
    nid: stored.nid,
    eventId: stored.eventId,
    depth: stored.depth,
    reference: referenceTo(event, version),
  };
}

/** Events as a lookup of the auth rules. */
export function authLookup(
  found: Iterable<RoomEvent>,
): (type: string, stateKey: string) => AuthEvent | undefined {
  const byPlace = new Map<PlaceKey, AuthEvent>();
  for (const event of found) {
    const { type, state_key: stateKey } = event.pdu;
    if (stateKey !== undefined) byPlace.set(placeKey(type, stateKey), event);
  }
  return (type, stateKey) => byPlace.get(placeKey(type, stateKey));
}
