/**
 * State resolution v2, of room versions 2 to 11, and v2.1, of version 12:
 * https://spec.matrix.org/v1.19/rooms/v2/#state-resolution and
 * https://spec.matrix.org/v1.19/rooms/v12/#state-resolution
 */
import { authDifference, authEventIdsOf, edgesBetween, subgraphBetween } from "./auth-graph.ts";
import { authorise } from "./auth-rules.ts";
import { placeOf, statePlace } from "./authorisation.ts";
import { compareCodePoints } from "./canonical-json.ts";
import { readPowerLevels } from "./power-levels.ts";
import { PriorityQueue } from "./priority-queue.ts";
import type { ResolvedEvent, StateMap, StateResolution } from "./state-resolution.ts";
import { isInviteSignedWith } from "./third-party-invites.ts";

const CREATE = statePlace("m.room.create", "");

export function resolveV2(resolution: StateResolution): Map<string, string> {
  const { states, event, rules } = resolution;
  const isV21 = rules.stateResolution === "v2.1";
  const { unconflicted, conflicted } = separate(states);
  if (conflicted.size === 0) return unconflicted;

  const authEventIds = (eventId: string): string[] => authEventIdsOf(event(eventId));
  const inStates = states.map((state) => state.values());
  const full = new Set([
    ...conflicted,
    ...authDifference(inStates, authEventIds),
    ...(isV21 ? subgraphBetween(conflicted, authEventIds) : []),
  ]);

  // 1. The power events, with the events of their auth chains that are in conflict too
  const powerEvents = [...full].filter((eventId) => isPowerEvent(event(eventId)));
  const edges = edgesBetween(full, powerEvents, authEventIds);
  const first = closureOf(powerEvents, edges);
  const sorted = reverseTopologicalPowerOrder(first, edges, resolution);

  // 2. From the unconflicted state, in v2.1 from none
  const resolved = new Map(isV21 ? [] : unconflicted);
  iterativeAuthChecks(resolved, sorted, resolution);

  // 3. The remaining events, along the power levels resolved so far
  const others = [...full].filter((eventId) => !first.has(eventId));
  const powerLevelsId = resolved.get(statePlace("m.room.power_levels", ""));

  // 4.
  iterativeAuthChecks(resolved, mainlineOrder(others, powerLevelsId, resolution), resolution);

  // 5.
  for (const [place, eventId] of unconflicted) resolved.set(place, eventId);
  return resolved;
}

/** The unconflicted state map and the conflicted state set. */
function separate(states: readonly StateMap[]): {
  unconflicted: Map<string, string>;
  conflicted: Set<string>;
} {
  const unconflicted = new Map<string, string>();
  const conflicted = new Set<string>();
  for (const state of states) {
    for (const [place, eventId] of state) {
      if (states.every((other) => other.get(place) === eventId)) unconflicted.set(place, eventId);
      else conflicted.add(eventId);
    }
  }
  return { unconflicted, conflicted };
}

function isPowerEvent({ pdu }: ResolvedEvent): boolean {
  if (pdu.state_key === undefined) return false;
  if (pdu.type === "m.room.power_levels" || pdu.type === "m.room.join_rules") return true;
  const { membership } = pdu.content;
  return (
    pdu.type === "m.room.member" &&
    (membership === "leave" || membership === "ban") &&
    pdu.sender !== pdu.state_key
  );
}

type Edges = ReadonlyMap<string, ReadonlySet<string>>;

function closureOf(eventIds: Iterable<string>, edges: Edges): Set<string> {
  const closure = new Set(eventIds);
  // A set also iterates over what is added meanwhile.
  for (const eventId of closure) for (const to of edges.get(eventId) ?? []) closure.add(to);
  return closure;
}

/** Kahn's algorithm, which takes the smallest of the events that have nothing left before them. */
function reverseTopologicalPowerOrder(
  eventIds: ReadonlySet<string>,
  edges: Edges,
  resolution: StateResolution,
): ResolvedEvent[] {
  const waitingFor = new Map<string, number>();
  const followers = new Map<string, string[]>();
  const ready = new PriorityQueue<{ event: ResolvedEvent; power: number }>(
    (a, b) => compareNumbers(b.power, a.power) || compareByTime(a.event, b.event),
  );
  const push = (eventId: string): void => {
    const event = resolution.event(eventId);
    ready.push({ event, power: senderPowerOf(event, resolution) });
  };
  for (const eventId of eventIds) {
    const before = edges.get(eventId) ?? new Set();
    waitingFor.set(eventId, before.size);
    for (const each of before) followers.set(each, [...(followers.get(each) ?? []), eventId]);
    if (before.size === 0) push(eventId);
  }
  const order: ResolvedEvent[] = [];
  for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
    order.push(next.event);
    for (const follower of followers.get(next.event.eventId) ?? []) {
      const left = (waitingFor.get(follower) ?? 0) - 1;
      waitingFor.set(follower, left);
      if (left === 0) push(follower);
    }
  }
  return order;
}

/** The power level of an event's sender by the auth events of the event. */
function senderPowerOf(event: ResolvedEvent, resolution: StateResolution): number {
  const authEvents = authEventIdsOf(event).map(resolution.event);
  const levels = authEvents.find(({ pdu }) => isPlace(pdu, "m.room.power_levels"));
  const create = createEventOf(event, resolution);
  return readPowerLevels(levels?.pdu.content, create?.pdu, resolution.rules).powerOf(
    event.pdu.sender,
  );
}

/** The create event of an event's room: an auth event, or named by the room ID. */
function createEventOf(
  event: ResolvedEvent,
  { event: get, rules }: StateResolution,
): ResolvedEvent | undefined {
  if (event.pdu.type === "m.room.create") return event;
  if (rules.roomIdIsCreateEvent) {
    const { room_id: roomId } = event.pdu;
    return roomId === undefined ? undefined : get(`$${roomId.slice(1)}`);
  }
  return authEventIdsOf(event)
    .map(get)
    .find(({ pdu }) => isPlace(pdu, "m.room.create"));
}

function isPlace(pdu: ResolvedEvent["pdu"], type: string): boolean {
  return pdu.type === type && pdu.state_key === "";
}

/** Adds to a state each event that it allows. */
function iterativeAuthChecks(
  state: Map<string, string>,
  events: readonly ResolvedEvent[],
  resolution: StateResolution,
): void {
  const { event: get, isRejected, rules } = resolution;
  for (const event of events) {
    const place = placeOf(event);
    if (place === undefined) continue;
    const authEvents = new Map<string, ResolvedEvent>();
    for (const eventId of authEventIdsOf(event)) {
      const authEvent = get(eventId);
      const authPlace = placeOf(authEvent);
      if (authPlace !== undefined && !isRejected(eventId)) authEvents.set(authPlace, authEvent);
    }
    const verdict = authorise({
      event,
      state(type, stateKey) {
        const wanted = statePlace(type, stateKey);
        const eventId = state.get(wanted);
        if (eventId !== undefined) return get(eventId);
        if (rules.roomIdIsCreateEvent && wanted === CREATE) return createEventOf(event, resolution);
        return authEvents.get(wanted);
      },
      rules,
      // Signatures were checked on receipt.
      signatures: { isSignedBy: () => true, isSignedWith: isInviteSignedWith },
    });
    if (verdict.allowed) state.set(place, event.eventId);
  }
}

/** Events by their place along the power levels from which those of the room came to be. */
function mainlineOrder(
  eventIds: readonly string[],
  powerLevelsId: string | undefined,
  { event: get }: StateResolution,
): ResolvedEvent[] {
  const powerLevelsOf = (eventId: string): string | undefined =>
    authEventIdsOf(get(eventId)).find((each) => isPlace(get(each).pdu, "m.room.power_levels"));

  const mainline = new Map<string, number>();
  for (let id = powerLevelsId; id !== undefined && !mainline.has(id); id = powerLevelsOf(id)) {
    mainline.set(id, mainline.size);
  }
  /** What was found for the power levels on the way, so that no way is gone twice. */
  const known = new Map<string, number>(mainline);
  const positionOf = (eventId: string): number => {
    const way = new Set<string>();
    let at = powerLevelsOf(eventId);
    while (at !== undefined && !known.has(at) && !way.has(at)) {
      way.add(at);
      at = powerLevelsOf(at);
    }
    const position = (at === undefined ? undefined : known.get(at)) ?? Infinity;
    for (const each of way) known.set(each, position);
    return position;
  };
  return eventIds
    .map((eventId) => ({ event: get(eventId), position: positionOf(eventId) }))
    .sort((a, b) => compareNumbers(b.position, a.position) || compareByTime(a.event, b.event))
    .map(({ event }) => event);
}

function compareByTime(a: ResolvedEvent, b: ResolvedEvent): number {
  return (
    compareNumbers(a.originServerTs, b.originServerTs) || compareCodePoints(a.eventId, b.eventId)
  );
}

/** Infinite ones, too, whose difference is no number. */
function compareNumbers(a: number, b: number): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
