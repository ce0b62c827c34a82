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

  /** A room as a member sees it at the stream's position, or later; counted once for all who ask. */
  async of(room: Pick<RoomMembership, "roomId" | "roomNid">, reader: UserId): Promise<RoomSummary> {
    let members = this.#byRoom.get(room.roomId);
    if (members === undefined) {
      const counted = roomMembers.summarize(this.#db, room.roomNid, HEROES + 1);
      this.#byRoom.set(room.roomId, counted);
      counted.catch(() => this.#byRoom.delete(room.roomId));
      members = counted;
    }
    const { first, firstGone, joined, invited } = await members;
    const heroes = (first.some((userId) => userId !== reader) ? first : firstGone)
      .filter((userId) => userId !== reader)
      .slice(0, HEROES);
    return { heroes, joined, invited };
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}
