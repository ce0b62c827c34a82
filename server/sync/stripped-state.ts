/**
 * Stripped state, by which somebody invited or knocking may know a room.
 * https://spec.matrix.org/v1.19/client-server-api/#stripped-state
 */
import type { UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import type { StoredEvent } from "../../storage/events.ts";
import * as strippedStates from "../../storage/stripped-states.ts";
import type { RoomMembership } from "../memberships/memberships.ts";
import type { StateStore } from "../rooms/rooms.ts";
import { type HeldEvents, clientFields } from "../timeline/timeline.ts";

export interface StrippedEvent {
  type: string;
  state_key: string;
  sender: string;
  content: JsonObject;
}

/** What the specification names, in its order. */
const TYPES = [
  "m.room.create",
  "m.room.name",
  "m.room.avatar",
  "m.room.topic",
  "m.room.join_rules",
  "m.room.canonical_alias",
  "m.room.encryption",
];
/** Events taken of what another server sent. */
const MAX_RECEIVED = 100;

export class StrippedStates {
  readonly #db: Database["db"];
  readonly #states: Pick<StateStore, "lookup">;
  readonly #held: Pick<HeldEvents, "list">;

  constructor(
    database: Pick<Database, "db">,
    states: Pick<StateStore, "lookup">,
    held: Pick<HeldEvents, "list">,
  ) {
    this.#db = database.db;
    this.#states = states;
    this.#held = held;
  }

  /** What invites and knocks show of their rooms, each with the member event itself at its end. */
  async list(memberships: readonly RoomMembership[]): Promise<StrippedEvent[][]> {
    if (memberships.length === 0) return [];
    const held = await this.#held.list(memberships.map(({ eventNid }) => eventNid));
    const outside = [...held.values()].filter((event) => event.snapshotAfter === undefined);
    const received = await strippedStates.list(
      this.#db,
      outside.map(({ nid }) => nid),
    );
    return Promise.all(
      memberships.map(async ({ eventNid }) => {
        const event = held.get(eventNid);
        if (event === undefined) return [];
        const around =
          event.snapshotAfter === undefined
            ? readStrippedState(received.get(eventNid))
            : await this.#ofRoom(event, event.snapshotAfter);
        return [...around.filter((other) => !isSamePlace(other, event)), stripped(event)];
      }),
    );
  }

  /** Of a room of ours: as it was at the invite or knock, and for an invite who sent it. */
  async #ofRoom(event: StoredEvent, snapshot: number): Promise<StrippedEvent[]> {
    const places = TYPES.map((type) => ({ type, stateKey: "" }));
    if (event.sender !== event.stateKey) {
      places.push({ type: "m.room.member", stateKey: event.sender satisfies UserId });
    }
    const found = await this.#states.lookup(snapshot, places);
    const held = await this.#held.list(found.values());
    return [...found.values()].flatMap((nid) => {
      const state = held.get(nid);
      return state === undefined ? [] : [stripped(state)];
    });
  }
}

/** What of a received value is stripped state; anything else in it is left out. */
export function readStrippedState(value: unknown): StrippedEvent[] {
  if (!Array.isArray(value)) return [];
  const items: unknown[] = value;
  return items.slice(0, MAX_RECEIVED).flatMap((item) => {
    if (!isObject(item)) return [];
    const { type, state_key, sender, content } = item;
    if (typeof type !== "string" || typeof state_key !== "string") return [];
    if (typeof sender !== "string" || !isObject(content)) return [];
    return [{ type, state_key, sender, content }];
  });
}

function stripped(event: StoredEvent): StrippedEvent {
  const { type, state_key = "", sender, content } = clientFields(event);
  return { type, state_key, sender, content };
}

function isSamePlace(stripped: StrippedEvent, event: StoredEvent): boolean {
  return stripped.type === event.type && stripped.state_key === event.stateKey;
}
