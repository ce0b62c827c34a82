/** Presence: https://spec.matrix.org/v1.19/client-server-api/#presence */
import { LRUCache } from "lru-cache";
import { MatrixError } from "../../spec/errors.ts";
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { refuseSuspended } from "../accounts/accounts.ts";
import { type EphemeralStore, EphemeralUnavailable } from "../ephemeral/ephemeral.ts";
import type { Memberships } from "../memberships/memberships.ts";
import type { Caller } from "../route.ts";
import type { Stream } from "../stream/stream.ts";

export type PresenceState = "online" | "unavailable" | "offline";

export interface PresenceOptions {
  store: Pick<EphemeralStore, "get" | "put" | "members" | "putMember" | "removeMember">;
  memberships: Pick<Memberships, "load" | "shareRoom">;
  /** Sending an event shows that its sender is there. */
  stream: Pick<Stream, "subscribe">;
  isLocal(serverName: string): boolean;
  /** ms since the epoch. */
  clock: () => number;
  onError(error: unknown): void;
}

/**
 * Its changes are told by this topic, by user ID, which is also the key of a hash of what is known of
 * the user: whether a device syncs, whether somebody is active, the status message. The first two end
 * by themselves, and that is told too. What single devices say is kept there untold: it matters only
 * when one of them changes.
 */
const TOPIC = "presence";
const HERE = "here";
const DEVICE = "device:";
const ACTIVE = "active";
const STATUS = "status";
/** A hash of the users who have a device. */
const PRESENT = "presence";

/** Times in ms. A device is there for longer than the longest that a sync waits. */
const DEVICE_MS = 180_000;
/** https://spec.matrix.org/v1.19/client-server-api/#idle-timeout */
const IDLE_MS = 5 * 60_000;
/** What stays the same is written again no more often than this. */
const REFRESH_MS = 30_000;
/** How long it is known when a user was last active. */
const LAST_ACTIVE_MS = 30 * 24 * 3_600_000;
const REMEMBERED = 100_000;

interface Known {
  state: PresenceState;
  lastActiveTs: number | undefined;
  statusMessage: string | undefined;
}

export class Presence implements Disposable {
  readonly #options: PresenceOptions;
  /** When this process last wrote of a device what it would write again. */
  readonly #synced = new LRUCache<string, { state: PresenceState; at: number }>({
    max: REMEMBERED,
  });
  readonly #lastNoted = new LRUCache<UserId, number>({ max: REMEMBERED });
  readonly #unsubscribe: () => void;

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#unsubscribe = options.stream.subscribe((entries) => {
      for (const { kind, subject } of entries) {
        if (kind !== "event" || subject === undefined) continue;
        if (options.isLocal(serverNameOf(subject.sender))) this.noteActivity(subject.sender);
      }
    });
  }

  /**
   * Sets a user's presence; without a status message there is none any more. What cannot be noted now
   * is lost without harm.
   *
   * @throws MatrixError M_USER_SUSPENDED for a message of a suspended user
   */
  async set(
    caller: Pick<Caller, "userId" | "deviceId" | "isSuspended">,
    state: PresenceState,
    statusMessage?: string,
  ): Promise<void> {
    if (statusMessage !== undefined) refuseSuspended(caller);
    const { store } = this.#options;
    const { userId, deviceId } = caller;
    this.#synced.delete(nameOf(userId, deviceId));
    await unlessAway(async () => {
      await this.#touch(userId);
      if (statusMessage === undefined) await store.removeMember(userId, STATUS, { topic: TOPIC });
      else await store.putMember(userId, STATUS, statusMessage, { topic: TOPIC });
      if (state === "offline") {
        const members = await store.members(userId);
        for (const member of members.keys()) {
          if (member === STATUS) continue;
          await store.removeMember(userId, member, { topic: TOPIC });
        }
        await store.removeMember(PRESENT, userId);
        return;
      }
      if (state === "online") await this.#putActive(userId);
      else await store.removeMember(userId, ACTIVE, { topic: TOPIC });
      await this.#putDevice(userId, deviceId, state);
    });
  }

  /**
   * A client synced, which shows that its user is there.
   *
   * Who was not there before is active by it; who was idle stays idle until they do something.
   */
  async synced(userId: UserId, deviceId: string | undefined, state: PresenceState): Promise<void> {
    // Such a client wants nobody to know of it.
    if (state === "offline") return;
    const name = nameOf(userId, deviceId);
    const now = this.#options.clock();
    const before = this.#synced.get(name);
    if (before?.state === state && now - before.at < REFRESH_MS) return;
    this.#synced.set(name, { state, at: now });
    const { store } = this.#options;
    const members = await store.members(userId);
    const device = `${DEVICE}${deviceId ?? ""}`;
    if (state === "online" && !members.has(HERE)) {
      await this.#touch(userId);
      await this.#putActive(userId);
    }
    await this.#putDevice(userId, deviceId, state);
    const isOnlineElsewhere = [...members].some(
      ([other, is]) => other.startsWith(DEVICE) && other !== device && is === "online",
    );
    const goesIdle = state === "unavailable" && members.get(device) !== state;
    if (goesIdle && !isOnlineElsewhere) {
      await store.removeMember(userId, ACTIVE, { topic: TOPIC });
    }
  }

  /** A user did something that shows that they are there. Returns at once. */
  noteActivity(userId: UserId): void {
    const now = this.#options.clock();
    const before = this.#lastNoted.get(userId);
    if (before !== undefined && now - before < REFRESH_MS) return;
    this.#lastNoted.set(userId, now);
    unlessAway(async () => {
      await this.#touch(userId);
      const members = await this.#options.store.members(userId);
      // Who has no device that syncs is offline, whatever they do.
      if (members.has(HERE)) await this.#putActive(userId);
    }).catch((error: unknown) => this.#options.onError(error));
  }

  /**
   * The presence of a user, as another may see it.
   *
   * @throws MatrixError M_FORBIDDEN where they share no room
   */
  async get(reader: UserId, userId: UserId): Promise<JsonObject> {
    const { memberships } = this.#options;
    const [own, other] = await Promise.all([memberships.load(reader), memberships.load(userId)]);
    if (!memberships.shareRoom(own, other)) {
      throw new MatrixError("M_FORBIDDEN", "You are not allowed to see their presence");
    }
    return (await this.list([userId])).get(userId) ?? { presence: "offline" };
  }

  /** The content of `m.presence` for those of some users who have a presence. */
  async list(userIds: readonly UserId[]): Promise<ReadonlyMap<UserId, JsonObject>> {
    const found = new Map<UserId, JsonObject>();
    await Promise.all(
      userIds.map(async (userId) => {
        const known = await this.#find(userId);
        if (known !== undefined) found.set(userId, this.#contentOf(known));
      }),
    );
    return found;
  }

  /** The users who are not offline. */
  async present(): Promise<Iterable<UserId>> {
    return (await this.#options.store.members(PRESENT)).keys() as Iterable<UserId>;
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  async #find(userId: UserId): Promise<Known | undefined> {
    const { store } = this.#options;
    const [members, lastActive] = await Promise.all([
      store.members(userId),
      store.get(lastActiveKey(userId)),
    ]);
    if (members.size === 0 && lastActive === undefined) return undefined;
    return {
      state: !members.has(HERE) ? "offline" : members.has(ACTIVE) ? "online" : "unavailable",
      lastActiveTs: lastActive === undefined ? undefined : Number(lastActive),
      statusMessage: members.get(STATUS),
    };
  }

  #contentOf({ state, lastActiveTs, statusMessage }: Known): JsonObject {
    const { clock } = this.#options;
    return {
      presence: state,
      ...(lastActiveTs === undefined
        ? {}
        : { last_active_ago: Math.max(0, clock() - lastActiveTs) }),
      ...(state === "online" ? { currently_active: true } : {}),
      ...(statusMessage === undefined ? {} : { status_msg: statusMessage }),
    };
  }

  async #touch(userId: UserId): Promise<void> {
    const { store, clock } = this.#options;
    await store.put(lastActiveKey(userId), String(clock()), { ttlMs: LAST_ACTIVE_MS });
  }

  async #putActive(userId: UserId): Promise<void> {
    await this.#options.store.putMember(userId, ACTIVE, "", { ttlMs: IDLE_MS, topic: TOPIC });
  }

  async #putDevice(
    userId: UserId,
    deviceId: string | undefined,
    state: PresenceState,
  ): Promise<void> {
    const { store } = this.#options;
    const device = `${DEVICE}${deviceId ?? ""}`;
    await store.putMember(PRESENT, userId, "", { ttlMs: DEVICE_MS });
    await store.putMember(userId, device, state, { ttlMs: DEVICE_MS });
    await store.putMember(userId, HERE, "", { ttlMs: DEVICE_MS, topic: TOPIC });
  }
}

function lastActiveKey(userId: UserId): string {
  return `last-active:${userId}`;
}

function nameOf(userId: UserId, deviceId: string | undefined): string {
  return `${userId}\0${deviceId ?? ""}`;
}

async function unlessAway(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof EphemeralUnavailable)) throw error;
  }
}
