/** Typing notifications: https://spec.matrix.org/v1.19/client-server-api/#typing-notifications */
import { MatrixError } from "../../spec/errors.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { refuseSuspended } from "../accounts/accounts.ts";
import { type EphemeralStore, EphemeralUnavailable } from "../ephemeral/ephemeral.ts";
import { memberOf, membershipOf, type Memberships } from "../memberships/memberships.ts";
import type { Caller } from "../route.ts";
import type { Stream } from "../stream/stream.ts";

export interface TypingOptions {
  store: Pick<EphemeralStore, "members" | "putMember" | "removeMember">;
  memberships: Pick<Memberships, "load">;
  stream: Pick<Stream, "subscribe">;
  /** Is told that a user did something. */
  onActivity?: (userId: UserId) => void;
  onError(error: unknown): void;
}

/** Its changes are told by this topic, by room ID, which is also the key of who types there. */
const TOPIC = "typing";
/** A hash of the rooms in which somebody has typed lately. */
const ROOMS = "typing";
/** Times in ms. */
const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_TIMEOUT_MS = 120_000;

export class Typing implements Disposable {
  readonly #options: TypingOptions;
  readonly #unsubscribe: () => void;

  constructor(options: TypingOptions) {
    this.#options = options;
    this.#unsubscribe = options.stream.subscribe((entries) => {
      for (const entry of entries) {
        const userId = entry.kind === "event" ? memberOf(entry) : undefined;
        const { roomId, subject } = entry;
        if (userId === undefined || roomId === undefined || subject === undefined) continue;
        // Who has left does not go on typing.
        if (membershipOf(subject) !== "join") {
          this.#stop(userId, roomId).catch((error: unknown) => options.onError(error));
        }
      }
    });
  }

  /**
   * Notes that a user types in a room, or no longer does. What cannot be noted now is lost without harm.
   *
   * @param timeoutMs how long it is true; at most two minutes
   * @throws MatrixError M_FORBIDDEN for who is not in the room, M_USER_SUSPENDED
   */
  async set(
    caller: Pick<Caller, "userId" | "isSuspended">,
    roomId: RoomId,
    isTyping: boolean,
    timeoutMs = DEFAULT_TIMEOUT_MS,
  ): Promise<void> {
    const { userId } = caller;
    refuseSuspended(caller);
    const user = await this.#options.memberships.load(userId);
    if (!user.isJoined(roomId)) throw new MatrixError("M_FORBIDDEN", "You are not in the room");
    this.#options.onActivity?.(userId);
    if (!isTyping || timeoutMs <= 0) {
      await this.#stop(userId, roomId);
      return;
    }
    const { store } = this.#options;
    const ttlMs = Math.min(timeoutMs, MAX_TIMEOUT_MS);
    await unlessAway(async () => {
      await store.putMember(ROOMS, roomId, "", { ttlMs: MAX_TIMEOUT_MS });
      await store.putMember(roomId, userId, "", { ttlMs, topic: TOPIC });
    });
  }

  /** Who types in each of some rooms; rooms where nobody does are left out. */
  async list(roomIds: readonly RoomId[]): Promise<ReadonlyMap<RoomId, readonly UserId[]>> {
    const found = new Map<RoomId, readonly UserId[]>();
    await Promise.all(
      roomIds.map(async (roomId) => {
        const members = await this.#options.store.members(roomId);
        if (members.size > 0) found.set(roomId, [...members.keys()] as UserId[]);
      }),
    );
    return found;
  }

  /** The rooms in which anybody types. */
  async rooms(): Promise<Iterable<RoomId>> {
    const lately = [...(await this.#options.store.members(ROOMS)).keys()] as RoomId[];
    return (await this.list(lately)).keys();
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  #stop(userId: UserId, roomId: RoomId): Promise<void> {
    return unlessAway(() => this.#options.store.removeMember(roomId, userId, { topic: TOPIC }));
  }
}

async function unlessAway(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof EphemeralUnavailable)) throw error;
  }
}
