/** Ignored users: https://spec.matrix.org/v1.19/client-server-api/#ignoring-users */
import { LRUCache } from "lru-cache";
import type { UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type { Stream } from "../stream/stream.ts";

const TYPE = "m.ignored_user_list";
const CACHED_USERS = 50_000;

/** Reads a user's global account data of a type. */
export type FindAccountData = (userId: UserId, type: string) => Promise<JsonObject | undefined>;

export class IgnoredUsers implements Disposable {
  readonly #find: FindAccountData;
  readonly #lists = new LRUCache<UserId, Promise<ReadonlySet<UserId>>>({ max: CACHED_USERS });
  readonly #unsubscribe: () => void;

  constructor(stream: Pick<Stream, "subscribe">, find: FindAccountData) {
    this.#find = find;
    this.#unsubscribe = stream.subscribe((entries) => {
      for (const { kind, userId, roomId, data } of entries) {
        if (kind !== "account_data" || roomId !== undefined || userId === undefined) continue;
        if (data?.["type"] === TYPE) this.#lists.delete(userId);
      }
    });
  }

  /** Whom a user ignores. */
  of(userId: UserId): Promise<ReadonlySet<UserId>> {
    const cached = this.#lists.get(userId);
    if (cached !== undefined) return cached;
    const list = this.#find(userId, TYPE).then((content) => listOf(userId, content));
    this.#lists.set(userId, list);
    list.catch(() => {
      if (this.#lists.get(userId) === list) this.#lists.delete(userId);
    });
    return list;
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}

/** Nobody ignores themselves: their own messages would be lost. */
function listOf(userId: UserId, content: JsonObject | undefined): ReadonlySet<UserId> {
  const users = content?.["ignored_users"];
  if (!isObject(users)) return new Set();
  return new Set((Object.keys(users) as UserId[]).filter((ignored) => ignored !== userId));
}
