/** Room summaries: the numbers of members, and the heroes that stand for a room without a name. */
import { LRUCache } from "lru-cache";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as roomMembers from "../../storage/room-members.ts";
import type { RoomMembers } from "../../storage/room-members.ts";
import type { RoomMembership } from "../memberships/memberships.ts";
import type { Stream } from "../stream/stream.ts";

export interface RoomSummary {
  heroes: UserId[];
  joined: number;
  invited: number;
}

const CACHED_ROOMS = 20_000;
/** https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_roomsummary */
const HEROES = 5;

export class Summaries implements Disposable {
  readonly #db: Database["db"];
  readonly #byRoom = new LRUCache<RoomId, Promise<RoomMembers>>({ max: CACHED_ROOMS });
  readonly #unsubscribe: () => void;

  constructor(database: Pick<Database, "db">, stream: Pick<Stream, "subscribe">) {
    this.#db = database.db;
    this.#unsubscribe = stream.subscribe((entries) => {
      for (const { kind, roomId, subject } of entries) {
        if (kind !== "event" || roomId === undefined) continue;
        if (subject === undefined || subject.type === "m.room.member") this.#byRoom.delete(roomId);
      }
    });
  }

  /**
   * Rooms as a member sees them at the stream's position, or later; each counted once for all who ask.
   */
  async list(
    rooms: readonly Pick<RoomMembership, "roomId" | "roomNid">[],
    reader: UserId,
  ): Promise<Map<RoomId, RoomSummary>> {
    const unknown = rooms.filter(({ roomId }) => !this.#byRoom.has(roomId));
    if (unknown.length > 0) {
      const nids = unknown.map(({ roomNid }) => roomNid);
      const counted = roomMembers.summarize(this.#db, nids, HEROES + 1);
      for (const { roomId, roomNid } of unknown) {
        const own = counted.then((of) => of.get(roomNid) ?? NOBODY);
        this.#byRoom.set(roomId, own);
        own.catch(() => {
          if (this.#byRoom.peek(roomId) === own) this.#byRoom.delete(roomId);
        });
      }
    }
    const found = rooms.map(({ roomId }) => ({ roomId, members: this.#byRoom.get(roomId) }));
    const summaries = new Map<RoomId, RoomSummary>();
    for (const { roomId, members = NOBODY } of found) {
      summaries.set(roomId, summaryFor(reader, await members));
    }
    return summaries;
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}

const NOBODY: RoomMembers = { joined: 0, invited: 0, first: [], firstGone: [] };

function summaryFor(
  reader: UserId,
  { first, firstGone, joined, invited }: RoomMembers,
): RoomSummary {
  const heroes = (first.some((userId) => userId !== reader) ? first : firstGone)
    .filter((userId) => userId !== reader)
    .slice(0, HEROES);
  return { heroes, joined, invited };
}
