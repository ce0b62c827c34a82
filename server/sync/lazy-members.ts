/**
 * Which member events a device has been sent, so that lazy loading need not repeat them.
 * https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
 *
 * What an answer sent counts only when the device comes back with that answer's token: an answer may
 * be lost on its way. A device that comes with any other token starts anew.
 */
import { LRUCache } from "lru-cache";
import type { RoomId, UserId } from "../../spec/identifiers.ts";

/** Members remembered over all devices. */
const MAX_MEMBERS = 1_000_000;

type Members = Map<RoomId, Set<UserId>>;

interface Device {
  /** The token up to which `sent` is known to have arrived. */
  token: string;
  sent: Members;
  /** What the last answer sent, with the token it gave. */
  pending: { token: string; sent: Members } | undefined;
  size: number;
}

export class LazyMembers {
  readonly #devices = new LRUCache<string, Device>({
    maxSize: MAX_MEMBERS,
    sizeCalculation: ({ size }) => size + 1,
  });

  /** What a device has that comes with a token; undefined for a first sync. */
  open(userId: UserId, deviceId: string | undefined, since: string | undefined): SentMembers {
    const key = `${userId}\0${deviceId ?? ""}`;
    const known = since === undefined ? undefined : this.#settle(key, since);
    const before: Members = known?.sent ?? new Map();
    return new SentMembers(before, (token, added) => {
      if (deviceId === undefined) return;
      let size = known?.size ?? 0;
      for (const members of added.values()) size += members.size;
      const pending = { token, sent: added };
      this.#devices.set(key, { token: since ?? "", sent: before, pending, size });
    });
  }

  #settle(key: string, since: string): Device | undefined {
    const device = this.#devices.get(key);
    if (device === undefined) return undefined;
    const { pending } = device;
    if (pending?.token === since) {
      for (const [roomId, members] of pending.sent) {
        const sent = device.sent.get(roomId);
        if (sent === undefined) device.sent.set(roomId, members);
        else for (const userId of members) sent.add(userId);
      }
      device.token = since;
      device.pending = undefined;
      return device;
    }
    if (device.token === since) return device;
    this.#devices.delete(key);
    return undefined;
  }
}

/** What one answer may leave out, and what it sends. */
export class SentMembers {
  readonly #before: Members;
  readonly #added: Members = new Map();
  readonly #keep: (token: string, added: Members) => void;

  constructor(before: Members, keep: (token: string, added: Members) => void) {
    this.#before = before;
    this.#keep = keep;
  }

  has(roomId: RoomId, userId: UserId): boolean {
    return this.#before.get(roomId)?.has(userId) === true;
  }

  add(roomId: RoomId, userId: UserId): void {
    const added = this.#added.get(roomId);
    if (added === undefined) this.#added.set(roomId, new Set([userId]));
    else added.add(userId);
  }

  /** Remembers what was sent with the token that the answer gave. */
  keep(token: string): void {
    this.#keep(token, this.#added);
  }
}
