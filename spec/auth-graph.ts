/**
 * The graph that `auth_events` make, as far as state resolution needs it:
 * https://spec.matrix.org/v1.19/rooms/v12/#definitions
 *
 * All walks are loops: auth chains are as long as the history of a room. Event IDs of versions 1
 * and 2 could be made to form cycles; no walk goes round one.
 */

import { type AuthEvent, type EventReference, referencedId } from "./authorisation.ts";

/** The IDs in the `auth_events` of an event. */
export function authEventIdsOf(event: {
  readonly pdu: AuthEvent["pdu"] & { readonly auth_events: readonly EventReference[] };
}): string[] {
  return event.pdu.auth_events.map(referencedId);
}

/** The auth events of an event, by their IDs. */
export type AuthEventIds = (eventId: string) => Iterable<string>;

/** The auth events of events, theirs, and so on. */
function authChain(eventIds: Iterable<string>, authEventIds: AuthEventIds): Set<string> {
  const chain = new Set<string>();
  const open = [...eventIds];
  for (let eventId = open.pop(); eventId !== undefined; eventId = open.pop()) {
    for (const authEventId of authEventIds(eventId)) {
      if (chain.has(authEventId)) continue;
      chain.add(authEventId);
      open.push(authEventId);
    }
  }
  return chain;
}

/** The events in the auth chains of some sets of events, but not of all. */
export function authDifference(
  sets: readonly Iterable<string>[],
  authEventIds: AuthEventIds,
): Set<string> {
  const chains = sets.map((set) => authChain(set, authEventIds));
  const difference = new Set<string>();
  for (const chain of chains) {
    for (const eventId of chain) {
      if (!chains.every((other) => other.has(eventId))) difference.add(eventId);
    }
  }
  return difference;
}

/** All events on the paths between any two of a set, and the set itself. */
export function subgraphBetween(
  eventIds: ReadonlySet<string>,
  authEventIds: AuthEventIds,
): Set<string> {
  const leading = new Set<string>();
  for (const eventId of bottomUp(eventIds, authEventIds)) {
    const leads =
      eventIds.has(eventId) || [...authEventIds(eventId)].some((each) => leading.has(each));
    if (leads) leading.add(eventId);
  }
  return leading;
}

/**
 * For each event that some lead to, and these, the members of a set that come first on its paths:
 * what an edge is where only the members are looked at.
 *
 * @returns by event ID; events that lead to no member are left out
 */
export function edgesBetween(
  members: ReadonlySet<string>,
  from: Iterable<string>,
  authEventIds: AuthEventIds,
): Map<string, ReadonlySet<string>> {
  const edges = new Map<string, ReadonlySet<string>>();
  for (const eventId of bottomUp(from, authEventIds)) {
    const nearest = new Set<string>();
    for (const authEventId of authEventIds(eventId)) {
      if (members.has(authEventId)) nearest.add(authEventId);
      else for (const member of edges.get(authEventId) ?? []) nearest.add(member);
    }
    if (nearest.size > 0) edges.set(eventId, nearest);
  }
  return edges;
}

/** Events and their auth chains, each once and after all that it leads to. */
function* bottomUp(eventIds: Iterable<string>, authEventIds: AuthEventIds): Generator<string> {
  const seen = new Set<string>();
  for (const start of eventIds) {
    if (seen.has(start)) continue;
    seen.add(start);
    const path = [{ eventId: start, authEvents: authEventIds(start)[Symbol.iterator]() }];
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const next = top.authEvents.next();
      if (next.done === true) {
        path.pop();
        yield top.eventId;
      } else if (!seen.has(next.value)) {
        seen.add(next.value);
        path.push({
          eventId: next.value,
          authEvents: authEventIds(next.value)[Symbol.iterator](),
        });
      }
    }
  }
}
