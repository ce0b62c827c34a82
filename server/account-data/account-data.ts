/** Account data, tags and filters: https://spec.matrix.org/v1.19/client-server-api/#client-config */
import { MatrixError } from "../../spec/errors.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { canonicalJson } from "../../spec/canonical-json.ts";
import type { JsonObject } from "../../spec/shape.ts";
import * as accountData from "../../storage/account-data.ts";
import type { Database } from "../../storage/database.ts";
import { refuseGuest } from "../accounts/accounts.ts";
import type { Caller } from "../route.ts";
import { ConflictError, type Stream } from "../stream/stream.ts";

export { Filters } from "./filters.ts";
export { Tags } from "./tags.ts";

/** One value, as a client gets it. */
export interface AccountDatum {
  /** Absent: it belongs to no room. */
  roomId?: RoomId | undefined;
  type: string;
  content: JsonObject;
}

/** Global account data that is there though nobody has set it, such as the default push rules. */
export interface GeneratedAccountData {
  readonly type: string;
  get(userId: UserId): Promise<JsonObject>;
}

/** What a value belongs to. */
export interface Place {
  userId: UserId;
  roomId?: RoomId | undefined;
  type: string;
}

/** Types that only the server sets: https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-15 */
const MANAGED: ReadonlySet<string> = new Set(["m.fully_read", "m.push_rules"]);
const MAX_VALUES = 20_000;
/** Largest value, in bytes of JSON. */
export const MAX_CONTENT_BYTES = 512 * 1024;
/** What an entry of the stream holds; readers look for a larger value in the table. */
const MAX_ENTRY_BYTES = 60 * 1024;
const MAX_ATTEMPTS = 20;

export class AccountData {
  readonly #database: Pick<Database, "db">;
  readonly #stream: Pick<Stream, "append">;
  readonly #generated: readonly GeneratedAccountData[];
  /** The last change under way of each value. */
  readonly #changes = new Map<string, Promise<void>>();

  constructor(options: {
    database: Pick<Database, "db">;
    stream: Pick<Stream, "append">;
    generated?: readonly GeneratedAccountData[];
  }) {
    this.#database = options.database;
    this.#stream = options.stream;
    this.#generated = options.generated ?? [];
  }

  async find({ userId, roomId, type }: Place): Promise<JsonObject | undefined> {
    const row = await accountData.find(this.#database.db, userId, roomId ?? "", type);
    if (row !== undefined || roomId !== undefined) return row?.content;
    return this.#generated.find((one) => one.type === type)?.get(userId);
  }

  /** All values of a user, or those that changed in the stream's `(after, upTo]`, oldest first. */
  async list(userId: UserId, changed?: { after: number; upTo: number }): Promise<AccountDatum[]> {
    const { db } = this.#database;
    const rows =
      changed === undefined
        ? await accountData.list(db, userId)
        : await accountData.after(db, userId, changed.after, changed.upTo);
    const found: AccountDatum[] = rows.map(({ room_id, type, content }) => ({
      ...(room_id === "" ? {} : { roomId: room_id }),
      type,
      content,
    }));
    if (changed !== undefined) return found;
    for (const { type, get } of this.#generated) {
      const isSet = found.some((datum) => datum.roomId === undefined && datum.type === type);
      if (!isSet) found.push({ type, content: await get(userId) });
    }
    return found;
  }

  /**
   * Sets a value as a client asks for it.
   *
   * @throws MatrixError M_BAD_JSON for a type that is the server's, M_GUEST_ACCESS_FORBIDDEN
   */
  async set(caller: Caller, place: Place, content: JsonObject): Promise<void> {
    refuseGuest(caller);
    if (MANAGED.has(place.type)) {
      throw new MatrixError("M_BAD_JSON", "That type of account data is the server's", {
        status: 405,
      });
    }
    await this.put(place, content);
  }

  /** Sets a value. Nobody hears of one that was set already. */
  async put(place: Place, content: JsonObject): Promise<void> {
    const before = await this.#find(place);
    if (before !== undefined && isSame(before.content, content)) return;
    if (before === undefined) await this.#refuseMore(place.userId);
    await this.#append(place, content, async (tx, row) => {
      await accountData.put(tx, row);
    });
  }

  /**
   * Changes a value to what depends on it; whatever others set meanwhile is kept.
   *
   * @param change may be called again
   */
  change(place: Place, change: (before: JsonObject) => JsonObject): Promise<void> {
    const key = JSON.stringify([place.userId, place.roomId, place.type]);
    // One after the other; only other processes can still be in the way.
    const before = this.#changes.get(key) ?? Promise.resolve();
    const done = before.then(() => this.#change(place, change));
    const settled = done
      .catch(() => undefined)
      .finally(() => {
        if (this.#changes.get(key) === settled) this.#changes.delete(key);
      });
    this.#changes.set(key, settled);
    return done;
  }

  async #change(place: Place, change: (before: JsonObject) => JsonObject): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const before = await this.#find(place);
      const content = change(before?.content ?? {});
      if (isSame(before?.content ?? {}, content)) return;
      if (before === undefined) await this.#refuseMore(place.userId);
      try {
        await this.#append(place, content, async (tx, row) => {
          if (!(await accountData.replace(tx, row, before?.position))) {
            throw new ConflictError("account data has changed");
          }
        });
        return;
      } catch (error) {
        if (!(error instanceof ConflictError) || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  #find({ userId, roomId, type }: Place): Promise<accountData.AccountData | undefined> {
    return accountData.find(this.#database.db, userId, roomId ?? "", type);
  }

  async #append(
    { userId, roomId, type }: Place,
    content: JsonObject,
    write: (
      tx: Parameters<typeof accountData.put>[0],
      row: accountData.AccountData,
    ) => Promise<void>,
  ): Promise<void> {
    const bytes = Buffer.byteLength(JSON.stringify(content));
    if (bytes > MAX_CONTENT_BYTES) {
      throw new MatrixError("M_TOO_LARGE", `larger than ${MAX_CONTENT_BYTES} bytes`);
    }
    await this.#stream.append({
      entries: [
        {
          kind: "account_data",
          userId,
          ...(roomId === undefined ? {} : { roomId }),
          data: bytes > MAX_ENTRY_BYTES ? { type } : { type, content },
        },
      ],
      write: (tx, [position = 0]) =>
        write(tx, { user_id: userId, room_id: roomId ?? "", type, content, position }),
    });
  }

  async #refuseMore(userId: UserId): Promise<void> {
    if ((await accountData.count(this.#database.db, userId)) < MAX_VALUES) return;
    throw new MatrixError("M_FORBIDDEN", `a user has at most ${MAX_VALUES} values`);
  }
}

function isSame(a: JsonObject, b: JsonObject): boolean {
  return canonicalJson(a, { numbers: "lossless" }) === canonicalJson(b, { numbers: "lossless" });
}
