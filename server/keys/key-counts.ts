/**
 * How many one-time keys devices have, and which fallback keys are unused. Every `/sync` asks, so the
 * answer is kept in memory until an entry of the stream says that it changed.
 * https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync
 */
import { LRUCache } from "lru-cache";
import type { UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as oneTimeKeys from "../../storage/one-time-keys.ts";
import type { Stream } from "../stream/stream.ts";

export interface KeyStock {
  /** By algorithm; `signed_curve25519` is always there. */
  oneTimeKeys: Record<string, number>;
  /** Algorithms of fallback keys that no claim was given yet. */
  unusedFallbackKeys: string[];
}

/** Users whose devices are kept. */
const MAX_USERS = 100_000;

export class KeyCounts implements Disposable {
  readonly #database: Pick<Database, "db">;
  /** Answers or what will become one; a user's devices are dropped together. */
  readonly #users = new LRUCache<UserId, Map<string, Promise<KeyStock>>>({ max: MAX_USERS });
  readonly #unsubscribe: () => void;

  constructor(database: Pick<Database, "db">, stream: Pick<Stream, "subscribe">) {
    this.#database = database;
    this.#unsubscribe = stream.subscribe((entries) => {
      for (const { kind, userId, deviceId } of entries) {
        if (userId === undefined) continue;
        if (kind === "device_list") this.#users.delete(userId);
        else if (kind === "one_time_keys" && deviceId !== undefined) {
          this.#users.peek(userId)?.delete(deviceId);
        }
      }
    });
  }

  /** What a device has, at least as new as the stream's position. */
  of(userId: UserId, deviceId: string): Promise<KeyStock> {
    const devices = this.#users.get(userId) ?? new Map<string, Promise<KeyStock>>();
    if (devices.size === 0) this.#users.set(userId, devices);
    const known = devices.get(deviceId);
    if (known !== undefined) return known;
    const stock = readStock(this.#database, userId, deviceId);
    devices.set(deviceId, stock);
    stock.catch(() => {
      if (devices.get(deviceId) === stock) devices.delete(deviceId);
    });
    return stock;
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}

async function readStock(
  { db }: Pick<Database, "db">,
  userId: UserId,
  deviceId: string,
): Promise<KeyStock> {
  const device = { userId, deviceId };
  const [counts, fallbacks] = await Promise.all([
    oneTimeKeys.counts(db, device),
    oneTimeKeys.listFallbacks(db, device),
  ]);
  return {
    oneTimeKeys: countsOf(counts),
    unusedFallbackKeys: fallbacks.filter((key) => !key.is_used).map((key) => key.algorithm),
  };
}

/** Counts as clients read them. */
export function countsOf(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries(new Map([["signed_curve25519", 0], ...counts]));
}
