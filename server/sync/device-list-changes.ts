/**
 * Whose devices a client has to look at anew, and whose it may forget.
 * https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
 */
import type { UserId } from "../../spec/identifiers.ts";
import type { StoredEvent } from "../../storage/events.ts";
import { type ActiveUser, type Memberships, membershipOf } from "../memberships/memberships.ts";
import type { Entry, Stream } from "../stream/stream.ts";
import type { Timeline } from "../timeline/timeline.ts";
import type { DeviceLists } from "./ports.ts";
import type { Window } from "./window.ts";

export interface DeviceListChanges {
  changed: Iterable<UserId>;
  left: Iterable<UserId>;
}

interface Deps {
  stream: Pick<Stream, "after" | "position" | "subscribe">;
  memberships: Pick<Memberships, "load" | "shareRoom" | "sharing">;
  clientEvents: Pick<Timeline["clientEvents"], "previousOf">;
  deviceLists: DeviceLists;
  /** Is told whose answers a change concerns. */
  onChange(userId: UserId): void;
  onError(error: unknown): void;
}

/** Changes that are kept apart from the rest of the tail. */
const MAX_LOG = 5000;

export class DeviceListLog implements Disposable {
  readonly #deps: Deps;
  readonly #unsubscribe: () => void;
  #log: { position: number; userId: UserId }[] = [];
  #start: number;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#start = deps.stream.position;
    this.#unsubscribe = deps.stream.subscribe((entries) => {
      for (const entry of entries) this.#hear(entry);
    });
  }

  /** What changed for a user in a window. */
  async changes(user: ActiveUser, window: Window): Promise<DeviceListChanges> {
    const { since, upTo } = window;
    const news = this.#after(since, upTo);
    const ownRooms = [...window.rooms.keys()].some(
      (roomId) => (window.memberships.get(roomId)?.since ?? 0) > since,
    );
    if (!window.isCovered || news === undefined || ownRooms) {
      return this.#deps.deviceLists.changes(user.userId, { after: since, upTo });
    }
    const changed = new Set<UserId>();
    const left = new Set<UserId>();
    for (const userId of news) if (await this.#shareRoom(user, userId)) changed.add(userId);
    for (const { events = [] } of window.rooms.values()) {
      for (const event of events) await this.#follow(user, event, changed, left);
    }
    return { changed, left };
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  /** What somebody's coming or going means for another member. */
  async #follow(
    user: ActiveUser,
    event: StoredEvent,
    changed: Set<UserId>,
    left: Set<UserId>,
  ): Promise<void> {
    const { type, stateKey } = event;
    if (type !== "m.room.member" || stateKey === undefined || stateKey === user.userId) return;
    const userId = stateKey as UserId;
    const membership = membershipOf(event);
    const isJoined = membership === "join";
    if (isJoined && !(await this.#wasJoined(event))) changed.add(userId);
    if (isJoined || (membership !== "leave" && membership !== "ban")) return;
    if (!(await this.#wasJoined(event)) || (await this.#shareRoom(user, userId))) return;
    changed.delete(userId);
    left.add(userId);
  }

  async #wasJoined(event: StoredEvent): Promise<boolean> {
    const previous = await this.#deps.clientEvents.previousOf(event);
    return previous !== undefined && membershipOf(previous) === "join";
  }

  async #shareRoom(user: ActiveUser, userId: UserId): Promise<boolean> {
    if (user.userId === userId) return true;
    return this.#deps.memberships.shareRoom(user, await this.#deps.memberships.load(userId));
  }

  #after(since: number, upTo: number): Set<UserId> | undefined {
    if (since >= this.#start) {
      const changed = new Set<UserId>();
      for (let i = this.#log.length - 1; i >= 0; i -= 1) {
        const change = this.#log[i];
        if (change === undefined || change.position <= since) break;
        if (change.position <= upTo) changed.add(change.userId);
      }
      return changed;
    }
    const tail = this.#deps.stream.after(since);
    return (
      tail &&
      new Set(
        tail.flatMap((entry) => (isChange(entry) && entry.position <= upTo ? [entry.userId] : [])),
      )
    );
  }

  #hear(entry: Entry): void {
    if (!isChange(entry)) return;
    const { position, userId } = entry;
    this.#log.push({ position, userId });
    if (this.#log.length > MAX_LOG * 1.25) {
      const drop = this.#log.length - MAX_LOG;
      this.#start = this.#log[drop - 1]?.position ?? this.#start;
      this.#log = this.#log.slice(drop);
    }
    const { memberships, onChange, onError } = this.#deps;
    memberships.load(userId).then((user) => {
      for (const other of memberships.sharing(user)) onChange(other.userId);
    }, onError);
  }
}

function isChange(entry: Entry): entry is Entry & { userId: UserId } {
  return entry.kind === "device_list" && entry.userId !== undefined;
}
