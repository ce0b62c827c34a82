/**
 * Who may be notified of what happens in a room: its local members, in memory, as of the entry of the
 * stream that is being looked at.
 */
import { LRUCache } from "lru-cache";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import { contentOf, type StoredEvent } from "../../storage/events.ts";
import * as notifications from "../../storage/notifications.ts";
import type { Timeline } from "../timeline/timeline.ts";

export interface Member {
  /** Stream position of the join. A later one than that of an event: not yet there at the event. */
  since: number;
  eventNid: number;
  /** The display name in the room; null for none, undefined where it has not been looked up. */
  displayName: string | null | undefined;
}

export interface Audience {
  readonly members: Map<UserId, Member>;
  /** Joined users of other servers; undefined where they are to be counted again. */
  remote: number | undefined;
}

/** Members that are kept, over all rooms. */
const CACHED_MEMBERS = 1_000_000;

export class Audiences {
  readonly #db: Database["db"];
  readonly #held: Pick<Timeline["held"], "list">;
  readonly #isLocal: (userId: UserId) => boolean;
  readonly #rooms = new LRUCache<RoomId, Audience>({
    maxSize: CACHED_MEMBERS,
    sizeCalculation: ({ members }) => members.size + 10,
  });

  constructor(options: {
    database: Pick<Database, "db">;
    held: Pick<Timeline["held"], "list">;
    isLocal(userId: UserId): boolean;
  }) {
    this.#db = options.database.db;
    this.#held = options.held;
    this.#isLocal = options.isLocal;
  }

  async of({ roomId, roomNid }: Pick<StoredEvent, "roomId" | "roomNid">): Promise<Audience> {
    let audience = this.#rooms.get(roomId);
    if (audience === undefined) {
      const { members, remote } = await notifications.findAudience(this.#db, roomNid);
      audience = {
        members: new Map(
          members.map(({ user_id: userId, since, event_nid: eventNid }) => [
            userId,
            { since, eventNid, displayName: undefined },
          ]),
        ),
        remote,
      };
      this.#rooms.set(roomId, audience);
    }
    audience.remote ??= await notifications.countRemote(this.#db, roomNid);
    return audience;
  }

  /**
   * Follows a member event.
   *
   * @returns whether a local user came or went by it
   */
  async follow(event: StoredEvent, position: number): Promise<"joined" | "left" | undefined> {
    const userId = event.stateKey as UserId;
    const audience = await this.of(event);
    if (!this.#isLocal(userId)) {
      audience.remote = undefined;
      return undefined;
    }
    const { membership, displayname } = contentOf(event);
    const before = audience.members.get(userId);
    if (membership === "join") {
      const isNew = before === undefined || before.since === position;
      // What was read from the database may be newer.
      if (before !== undefined && before.since > position) return undefined;
      audience.members.set(userId, {
        since: before?.since ?? position,
        eventNid: event.nid,
        displayName: typeof displayname === "string" ? displayname : null,
      });
      this.#resize(event.roomId, audience);
      return isNew ? "joined" : undefined;
    }
    if (membership !== "leave" && membership !== "ban") return undefined;
    if (before === undefined || before.since < position) audience.members.delete(userId);
    return "left";
  }

  /** Looks up the display names of members that have not been. */
  async loadNames(audience: Audience, userIds: Iterable<UserId>): Promise<void> {
    const missing: Member[] = [];
    for (const userId of userIds) {
      const member = audience.members.get(userId);
      if (member?.displayName === undefined && member !== undefined) missing.push(member);
    }
    if (missing.length === 0) return;
    const events = await this.#held.list(missing.map(({ eventNid }) => eventNid));
    for (const member of missing) {
      const event = events.get(member.eventNid);
      const name = event && event.redactedBy === undefined && contentOf(event)["displayname"];
      member.displayName = typeof name === "string" ? name : null;
    }
  }

  #resize(roomId: RoomId, audience: Audience): void {
    this.#rooms.set(roomId, audience);
  }
}
