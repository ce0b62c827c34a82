/** Histories of rooms for the tests of state resolution, and a resolution by the letter. */
import assert from "node:assert/strict";
import { authEventKeys } from "./auth-events.ts";
import { ALL_SIGNED, CREATOR, type Fields, rulesOf, roomIdOf } from "./auth-fixtures.ts";
import { authEventIdsOf } from "./auth-graph.ts";
import { authorise } from "./auth-rules.ts";
import { placeOf, statePlace } from "./authorisation.ts";
import { readPowerLevels } from "./power-levels.ts";
import type { RoomVersion } from "./room-versions.ts";
import {
  type ResolvedEvent,
  resolveState,
  type StateMap,
  type StateResolution,
} from "./state-resolution.ts";

interface Sent {
  readonly event: ResolvedEvent;
  /** The state after the event. */
  readonly after: StateMap;
}

/** A room of one version, in which events are sent after any others. */
export class History {
  readonly version: number;
  readonly rules: RoomVersion;
  readonly sent = new Map<string, Sent>();
  readonly rejected = new Set<string>();

  /** A room with its create event `create` and its creator's join `creator`. */
  constructor(version: number) {
    this.version = version;
    this.rules = rulesOf(version);
    const content = {
      room_version: String(version),
      ...(version <= 10 ? { creator: CREATOR } : {}),
    };
    this.send("create", [], { type: "m.room.create", state_key: "", content });
    this.send("creator", ["create"], {
      type: "m.room.member",
      state_key: CREATOR,
      content: { membership: "join" },
    });
  }

  /** The ID of the event that was given a name. */
  id(name: string): string {
    return this.version <= 2 ? `$${name}:a.example` : `$${name}`;
  }

  /**
   * Sends an event by a name, after others by theirs, with what the state there has as its auth
   * events.
   *
   * @param fields `origin_server_ts` grows with each event unless it is given
   * @returns whether the state lets the event into the room; if not, it is not sent
   */
  send(name: string, after: readonly string[], fields: Fields & { ts?: number }): boolean {
    const { ts = this.sent.size * 1000, event_id: _, ...given } = fields;
    const before = this.stateBefore(after);
    const pdu = {
      room_id: roomIdOf(this.version),
      sender: CREATOR,
      content: {},
      prev_events: after.map((each) => this.id(each)),
      ...given,
    };
    const authEvents = authEventKeys(pdu, this.rules)
      .map((key) => before.get(statePlace(key.type, key.stateKey)))
      .filter((id) => id !== undefined);
    const { room_id: roomId, ...withoutRoom } = pdu;
    const isCreate = pdu.type === "m.room.create" && this.version >= 12;
    const event: ResolvedEvent = {
      eventId: this.id(name),
      depth: 1 + Math.max(0, ...after.map((each) => this.get(this.id(each)).depth)),
      originServerTs: ts,
      pdu: {
        ...withoutRoom,
        ...(isCreate ? {} : { room_id: roomId }),
        auth_events: authEvents,
      },
    };
    const state = (type: string, stateKey: string) => {
      const id = before.get(statePlace(type, stateKey));
      return id === undefined ? undefined : this.get(id);
    };
    const question = { event, state, rules: this.rules, signatures: ALL_SIGNED };
    if (!authorise(question).allowed) return false;
    const place = placeOf(event);
    const stateAfter = place === undefined ? before : new Map(before).set(place, event.eventId);
    this.sent.set(event.eventId, { event, after: stateAfter });
    return true;
  }

  get = (eventId: string): ResolvedEvent => {
    const sent = this.sent.get(eventId);
    assert.ok(sent !== undefined, `no event ${eventId}`);
    return sent.event;
  };

  stateAfter(name: string): StateMap {
    const sent = this.sent.get(this.id(name));
    assert.ok(sent !== undefined, `${name} was not sent`);
    return sent.after;
  }

  stateBefore(after: readonly string[]): Map<string, string> {
    return this.resolve(after.map((name) => this.stateAfter(name)));
  }

  resolve(states: readonly StateMap[]): Map<string, string> {
    return resolveState(this.question(states));
  }

  question(states: readonly StateMap[]): StateResolution {
    return {
      states,
      event: this.get,
      isRejected: (id) => this.rejected.has(id),
      rules: this.rules,
    };
  }
}

/**
 * State resolution v2 and v2.1 by the letter of the specification: sets and closures that are
 * computed whole, for as few events as a test has.
 */
export function resolveByTheLetter(resolution: StateResolution): Map<string, string> {
  const { states, event, isRejected, rules } = resolution;
  const places = new Set(states.flatMap((state) => [...state.keys()]));
  const unconflicted = new Map<string, string>();
  const conflicted = new Set<string>();
  for (const place of places) {
    const values = states.map((state) => state.get(place));
    const [first] = values;
    if (first !== undefined && values.every((each) => each === first))
      unconflicted.set(place, first);
    else for (const value of values) if (value !== undefined) conflicted.add(value);
  }
  const chains = new Map<string, Set<string>>();
  const chainOf = (id: string): Set<string> => {
    const known = chains.get(id);
    if (known !== undefined) return known;
    const chain = new Set<string>();
    for (const authId of authEventIdsOf(event(id))) {
      chain.add(authId);
      for (const each of chainOf(authId)) chain.add(each);
    }
    chains.set(id, chain);
    return chain;
  };
  const fullChains = states.map(
    (state) => new Set([...state.values()].flatMap((id) => [...chainOf(id)])),
  );
  const all = new Set(fullChains.flatMap((chain) => [...chain]));
  const difference = [...all].filter((id) => fullChains.some((chain) => !chain.has(id)));
  const between = [...all].filter(
    (id) =>
      [...conflicted].some((from) => chainOf(from).has(id)) &&
      [...conflicted].some((to) => chainOf(id).has(to)),
  );
  const isV21 = rules.stateResolution === "v2.1";
  const full = new Set([...conflicted, ...difference, ...(isV21 ? between : [])]);

  const authEventOf = (id: string, type: string) =>
    authEventIdsOf(event(id)).find((each) => placeOf(event(each)) === statePlace(type, ""));
  const createOf = (id: string) => {
    const { pdu } = event(id);
    if (pdu.type === "m.room.create") return id;
    return rules.roomIdIsCreateEvent
      ? `$${pdu.room_id?.slice(1)}`
      : authEventOf(id, "m.room.create");
  };
  const powerOf = (id: string): number => {
    const levels = authEventOf(id, "m.room.power_levels");
    const create = createOf(id);
    const content = levels === undefined ? undefined : event(levels).pdu.content;
    const room = create === undefined ? undefined : event(create).pdu;
    return readPowerLevels(content, room, rules).powerOf(event(id).pdu.sender);
  };
  const isPowerEvent = (id: string): boolean => {
    const { type, sender, content, state_key: stateKey } = event(id).pdu;
    if (type === "m.room.power_levels" || type === "m.room.join_rules") return true;
    const removes = content["membership"] === "leave" || content["membership"] === "ban";
    return type === "m.room.member" && removes && sender !== stateKey;
  };
  const powerEvents = [...full].filter(isPowerEvent);
  const chosen = [...full].filter((id) =>
    powerEvents.some((each) => each === id || chainOf(each).has(id)),
  );

  const byTime = (a: string, b: string): number =>
    event(a).originServerTs - event(b).originServerTs || (a < b ? -1 : 1);
  const byPower = (a: string, b: string): number => {
    const [powerA, powerB] = [powerOf(a), powerOf(b)];
    if (powerA === powerB) return byTime(a, b);
    return powerA > powerB ? -1 : 1;
  };
  const order: string[] = [];
  for (let left = chosen; left.length > 0; left = left.filter((id) => !order.includes(id))) {
    const [next] = left.filter((id) => !left.some((other) => chainOf(id).has(other))).sort(byPower);
    assert.ok(next !== undefined);
    order.push(next);
  }

  const state = new Map(isV21 ? [] : unconflicted);
  const check = (ids: string[]): void => {
    for (const id of ids) {
      const lookup = (type: string, stateKey: string) => {
        const place = statePlace(type, stateKey);
        const inState = state.get(place);
        if (inState !== undefined) return event(inState);
        if (isV21 && type === "m.room.create") return event(createOf(id) ?? "");
        const authId = authEventIdsOf(event(id)).find((each) => placeOf(event(each)) === place);
        return authId === undefined || isRejected(authId) ? undefined : event(authId);
      };
      const question = { event: event(id), state: lookup, rules, signatures: ALL_SIGNED };
      const place = placeOf(event(id));
      if (place !== undefined && authorise(question).allowed) state.set(place, id);
    }
  };
  check(order);

  const levelsOf = (id: string): string[] => {
    const levels = authEventOf(id, "m.room.power_levels");
    return levels === undefined ? [] : [levels, ...levelsOf(levels)];
  };
  const head = state.get(statePlace("m.room.power_levels", ""));
  const mainline = head === undefined ? [] : [head, ...levelsOf(head)];
  const positionOf = (id: string): number => {
    const at = levelsOf(id).find((each) => mainline.includes(each));
    return at === undefined ? Infinity : mainline.indexOf(at);
  };
  const byMainline = (a: string, b: string): number => {
    const [positionA, positionB] = [positionOf(a), positionOf(b)];
    if (positionA === positionB) return byTime(a, b);
    return positionA > positionB ? -1 : 1;
  };
  check([...full].filter((id) => !chosen.includes(id)).sort(byMainline));
  return new Map([...state, ...unconflicted]);
}
