/**
 * Who may see an event:
 * https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
 *
 * It fails closed: where the state at the event is not known, the event is hidden.
 */

/** What visibility depends on of the room state at an event; of a user or of a server's users. */
export interface VisibilityState {
  /**
   * `history_visibility` of the `m.room.history_visibility` event. Undefined where the state has
   * none, which means `shared`, as does a value that is not understood.
   */
  readonly historyVisibility: unknown;
  /** `membership` of the user; undefined where the state has none. */
  readonly membership: unknown;
}

export interface Viewing<State = VisibilityState> {
  /** The state before the event; undefined where it is not known. */
  readonly before: State | undefined;
  /**
   * The state after the event. It differs from the one before for `m.room.history_visibility`
   * and for the user's own `m.room.member` events, which both states may open; for all others the
   * same object will do.
   */
  readonly after: State | undefined;
  /** Whether the user was joined to the room at any point after the event, now included. */
  readonly hasJoinedSince: boolean;
}

/** Whether a user may see an event. */
export function maySeeEvent({ before, after, hasJoinedSince }: Viewing): boolean {
  return [before, after].some(
    (state) =>
      state !== undefined &&
      allows(
        state.historyVisibility,
        { isJoined: state.membership === "join", isInvited: state.membership === "invite" },
        hasJoinedSince,
      ),
  );
}

/** The same of all users of a server: the memberships that the state holds for them. */
export interface ServerVisibilityState {
  readonly historyVisibility: unknown;
  readonly memberships: Iterable<unknown>;
}

/**
 * Whether a server may be given an event: when one of its users may see it, or could have.
 *
 * Only for servers in the room, or with a `world_readable` one; `hasJoinedSince` tells whether any
 * user of the server was joined at any point after the event, now included.
 */
export function mayServerSeeEvent(viewing: Viewing<ServerVisibilityState>): boolean {
  const { before, after, hasJoinedSince } = viewing;
  return [before, after].some((state) => {
    if (state === undefined) return false;
    const memberships = new Set(state.memberships);
    const presence = { isJoined: memberships.has("join"), isInvited: memberships.has("invite") };
    return allows(state.historyVisibility, presence, hasJoinedSince);
  });
}

function allows(
  historyVisibility: unknown,
  { isJoined, isInvited }: { isJoined: boolean; isInvited: boolean },
  hasJoinedSince: boolean,
): boolean {
  switch (historyVisibility) {
    // 1. world_readable
    case "world_readable":
      return true;
    // 2. The membership was join
    case "joined":
      return isJoined;
    // 4. The membership was invite
    case "invited":
      return isJoined || isInvited;
    // 3. The user joined after the event was sent; shared is also what no other value means
    default:
      return isJoined || hasJoinedSince;
  }
}
