/**
 * What is known of users, in memory: who an access token belongs to, who may do what. An entry of the stream that says that a user's tokens,
 * devices or rights changed makes it forget that user.
 */
import { LRUCache } from "lru-cache";
import type { UserId } from "../../spec/identifiers.ts";
import type { Entry, Stream } from "../stream/stream.ts";

const MAX_VALUES = 50_000;

export class UserCache<T extends { readonly userId: UserId }> implements Disposable {
  readonly #found: LRUCache<string, { readonly value: T }>;
  readonly #keysOf = new Map<UserId, Set<string>>();
  /** Loads under way, each with the users that changed meanwhile. */
  readonly #loads = new Set<Set<UserId>>();
  readonly #unsubscribe: () => void;

  constructor(stream: Pick<Stream, "subscribe">) {
    this.#found = new LRUCache({
      max: MAX_VALUES,
      dispose: ({ value }, key) => {
        const keys = this.#keysOf.get(value.userId);
        keys?.delete(key);
        if (keys?.size === 0) this.#keysOf.delete(value.userId);
      },
    });
    this.#unsubscribe = stream.subscribe((entries) => this.#hear(entries));
  }

  get(key: string): T | undefined {
    return this.#found.get(key)?.value;
  }

  /** Reads what is not known; what may have changed while it was read is not kept. */
  async load(key: string, read: () => Promise<T | undefined>): Promise<T | undefined> {
    const changed = new Set<UserId>();
    this.#loads.add(changed);
    try {
      const value = await read();
      if (value !== undefined && !changed.has(value.userId)) this.#put(key, value);
      return value;
    } finally {
      this.#loads.delete(changed);
    }
  }

  #put(key: string, value: T): void {
    this.#found.set(key, { value });
    const keys = this.#keysOf.get(value.userId) ?? new Set();
    keys.add(key);
    this.#keysOf.set(value.userId, keys);
  }

  #hear(entries: readonly Entry[]): void {
    for (const { kind, userId } of entries) {
      if (kind !== "session" || userId === undefined) continue;
      for (const changed of this.#loads) changed.add(userId);
      for (const key of this.#keysOf.get(userId) ?? []) this.#found.delete(key);
    }
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}
