/** Events that are committed together, with the rows and the entries of the stream that they make. */
import type { RoomEvent } from "../../spec/event-format.ts";
import { type EventId, isUserId, serverNameOf } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type {
  EventRows,
  NewEvent,
  NewMembership,
  NewSnapshot,
  NewState,
} from "../../storage/event-rows.ts";
import type { StoredEvent } from "../../storage/events.ts";
import type { Membership } from "../../storage/rooms.ts";
import type { NewEntry } from "../stream/stream.ts";
import type { HeldEvent, RoomHead } from "./room-head.ts";

export class EventBatch {
  readonly entries: NewEntry[] = [];
  readonly stored: StoredEvent[] = [];
  readonly snapshots: NewSnapshot[] = [];
  readonly #events: NewEvent[] = [];
  readonly #states: NewState[] = [];
  readonly #memberships: NewMembership[] = [];
  readonly #redactions: { eventId: EventId; roomNid: number; redactedBy: EventId }[] = [];
  readonly #isLocal: (serverName: string) => boolean;

  constructor(isLocal: (serverName: string) => boolean) {
    this.#isLocal = isLocal;
  }

  get rows(): EventRows {
    return {
      events: this.#events,
      snapshots: this.snapshots,
      states: this.#states,
      memberships: this.#memberships,
      redactions: this.#redactions,
    };
  }

  /**
   * Adds an event's rows and its stream entry.
   *
   * @param wasMembership for a member event, the user's membership before it
   */
  add({ nid, pdu }: HeldEvent, stored: StoredEvent, wasMembership: Membership | undefined): void {
    const entry = this.entries.length;
    const redacts = pdu.type === "m.room.redaction" ? redactsOf(pdu) : undefined;
    const target = pdu.type === "m.room.member" ? pdu.state_key : undefined;
    this.entries.push({
      kind: "event",
      roomId: stored.roomId,
      eventNid: nid,
      // Whom a membership concerns is told of it even outside the room.
      ...(target !== undefined && isUserId(target) ? { userId: target } : {}),
      ...(redacts === undefined ? {} : { data: { redacts } }),
      subject: stored,
    });
    this.stored.push(stored);
    this.#events.push({
      entry,
      nid,
      eventId: stored.eventId,
      roomNid: stored.roomNid,
      type: stored.type,
      stateKey: stored.stateKey,
      sender: stored.sender,
      originServerTs: stored.originServerTs,
      depth: stored.depth,
      snapshotBefore: stored.snapshotBefore,
      snapshotAfter: stored.snapshotAfter,
      relatesTo: stored.relatesTo,
      relType: stored.relType,
      containsUrl: typeof pdu.content["url"] === "string",
      json: stored.json,
    });
    if (stored.stateKey === undefined) return;
    if (target !== undefined && isUserId(target)) {
      const membership = pdu.content["membership"] as Membership;
      this.#memberships.push({
        roomNid: stored.roomNid,
        userId: target,
        membership,
        eventNid: nid,
        sender: stored.sender,
        isLocal: this.#isLocal(serverNameOf(target)),
        entry,
        isChange: membership !== wasMembership,
      });
    } else {
      this.#states.push({
        roomNid: stored.roomNid,
        type: stored.type,
        stateKey: stored.stateKey,
        eventNid: nid,
      });
    }
  }

  /** Lets a redaction of this batch apply. */
  redact(eventId: EventId, { roomNid, eventId: redactedBy }: StoredEvent): void {
    this.#redactions.push({ eventId, roomNid, redactedBy });
  }
}

/** An event as it is stored; it gets its position with its commit. */
export function storedEvent(
  { nid, eventId, roomId, pdu, json, depth, originServerTs }: HeldEvent,
  head: RoomHead,
  snapshotBefore: number,
  snapshotAfter: number,
): StoredEvent {
  const relation = relationOf(pdu.content);
  return {
    nid,
    eventId,
    roomNid: head.nid,
    roomId,
    roomVersion: head.version.version,
    position: undefined,
    order: undefined,
    type: pdu.type,
    stateKey: pdu.state_key,
    sender: pdu.sender,
    originServerTs,
    depth,
    snapshotBefore,
    snapshotAfter,
    relatesTo: relation?.eventId,
    relType: relation?.relType,
    rejected: undefined,
    softFailed: false,
    redactedBy: undefined,
    json,
  };
}

/** What an event relates to: https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events */
export function relationOf(
  content: JsonObject,
): { eventId: EventId; relType: string; key: string | undefined } | undefined {
  const relation = content["m.relates_to"];
  if (!isObject(relation)) return undefined;
  const { event_id: eventId, rel_type: relType, key } = relation;
  if (typeof eventId !== "string" || typeof relType !== "string") return undefined;
  if (eventId.includes("\0") || relType.includes("\0")) return undefined;
  return {
    eventId: eventId as EventId,
    relType,
    key: typeof key === "string" ? key : undefined,
  };
}

function redactsOf(pdu: RoomEvent["pdu"]): string | undefined {
  const redacts = pdu.redacts ?? pdu.content["redacts"];
  return typeof redacts === "string" ? redacts : undefined;
}
