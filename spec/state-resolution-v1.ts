/** State resolution of room version 1: https://spec.matrix.org/v1.19/rooms/v1/#state-resolution */
import { createHash } from "node:crypto";
import { authorise } from "./auth-rules.ts";
import { placeOf, statePlace } from "./authorisation.ts";
import type { ResolvedEvent, StateMap, StateResolution } from "./state-resolution.ts";
import { isInviteSignedWith } from "./third-party-invites.ts";

/** The types that are resolved first, one after the other. */
const AUTH_TYPES = ["m.room.power_levels", "m.room.join_rules", "m.room.member"];

export function resolveV1({ states, event, rules }: StateResolution): Map<string, string> {
  const { resolved, conflicts } = separate(states);

  /** Whether the result so far allows an event, with another at its own place if need be. */
  const isAllowed = (candidate: ResolvedEvent, instead?: ResolvedEvent): boolean => {
    const ownPlace = instead === undefined ? undefined : placeOf(instead);
    return authorise({
      event: candidate,
      state(type, stateKey) {
        const place = statePlace(type, stateKey);
        if (place === ownPlace) return instead;
        const eventId = resolved.get(place);
        return eventId === undefined ? undefined : event(eventId);
      },
      rules,
      // Signatures were checked on receipt.
      signatures: { isSignedBy: () => true, isSignedWith: isInviteSignedWith },
    }).allowed;
  };

  const ordered = new Map(
    [...conflicts].map(([place, eventIds]) => [place, [...eventIds].map(event).sort(compare)]),
  );
  /** Adds to the result what a step decides for the places of some types, each by itself. */
  const step = (
    isOfStep: (type: string) => boolean,
    pick: (events: readonly ResolvedEvent[]) => ResolvedEvent | undefined,
  ): void => {
    const picked = [...ordered]
      .filter(([, [first]]) => first !== undefined && isOfStep(first.pdu.type))
      .map(([place, events]) => [place, pick(events)] as const);
    for (const [place, found] of picked)
      if (found !== undefined) resolved.set(place, found.eventId);
  };

  for (const authType of AUTH_TYPES) {
    step(
      (type) => type === authType,
      (events) => lastAllowed(events, isAllowed),
    );
  }
  // Where none is allowed the room keeps the one of least depth, rather than none.
  step(
    (type) => !AUTH_TYPES.includes(type),
    (events) => events.findLast((each) => isAllowed(each)) ?? events[0],
  );
  return resolved;
}

/**
 * The union of the states without conflicts, and the events of each place with several. A place
 * that only some states have is no conflict.
 */
function separate(states: readonly StateMap[]): {
  resolved: Map<string, string>;
  conflicts: Map<string, Set<string>>;
} {
  const all = new Map<string, Set<string>>();
  for (const state of states) {
    for (const [place, eventId] of state)
      all.set(place, (all.get(place) ?? new Set()).add(eventId));
  }
  const resolved = new Map<string, string>();
  const conflicts = new Map<string, Set<string>>();
  for (const [place, eventIds] of all) {
    const [first] = eventIds;
    if (eventIds.size > 1) conflicts.set(place, eventIds);
    else if (first !== undefined) resolved.set(place, first);
  }
  return { resolved, conflicts };
}

/** Of events in ascending order the last before one that those before it do not allow. */
function lastAllowed(
  [first, ...others]: readonly ResolvedEvent[],
  isAllowed: (candidate: ResolvedEvent, instead: ResolvedEvent) => boolean,
): ResolvedEvent | undefined {
  let last = first;
  for (const next of others) {
    if (last === undefined || !isAllowed(next, last)) break;
    last = next;
  }
  return last;
}

/** Ascending depth, then descending SHA-1 of the event ID. */
function compare(a: ResolvedEvent, b: ResolvedEvent): number {
  if (a.depth !== b.depth) return a.depth - b.depth;
  const [hashA, hashB] = [sha1(a.eventId), sha1(b.eventId)];
  if (hashA === hashB) return 0;
  return hashA < hashB ? 1 : -1;
}

function sha1(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}
