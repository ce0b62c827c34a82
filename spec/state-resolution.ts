/**
 * State resolution: https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
 *
 * Given the states after the events that an event follows, the state before it. Which algorithm
 * it is, the room version says: v1 has a file of its own, v2 and v2.1 share one.
 */
import type { AuthEvent, EventReference } from "./authorisation.ts";
import type { RoomVersion } from "./room-versions.ts";
import { resolveV1 } from "./state-resolution-v1.ts";
import { resolveV2 } from "./state-resolution-v2.ts";

/** Event IDs by `statePlace`. */
export type StateMap = ReadonlyMap<string, string>;

/** What state resolution reads of an event; a `RoomEvent` is one. */
export interface ResolvedEvent extends AuthEvent {
  readonly depth: number;
  readonly originServerTs: number;
  readonly pdu: AuthEvent["pdu"] & { readonly auth_events: readonly EventReference[] };
}

export interface StateResolution {
  readonly states: readonly StateMap[];
  /** Any event of the states and of their auth chains; in version 12 the create event too. */
  readonly event: (eventId: string) => ResolvedEvent;
  /** Whether an event was rejected on receipt: it then authorises no other event. */
  readonly isRejected: (eventId: string) => boolean;
  readonly rules: RoomVersion;
}

/** Resolves states. The result does not depend on the order of the states nor of their entries. */
export function resolveState(resolution: StateResolution): Map<string, string> {
  const states = withoutDuplicates(resolution.states);
  if (states.length <= 1) return new Map(states[0]);
  return resolution.rules.stateResolution === "v1"
    ? resolveV1({ ...resolution, states })
    : resolveV2({ ...resolution, states });
}

/** Two equal states say no more than one. */
function withoutDuplicates(states: readonly StateMap[]): StateMap[] {
  return states.filter((state, i) => !states.slice(0, i).some((other) => isEqual(state, other)));
}

function isEqual(a: StateMap, b: StateMap): boolean {
  if (a.size !== b.size) return false;
  for (const [place, eventId] of a) if (b.get(place) !== eventId) return false;
  return true;
}
