/** Tags: https://spec.matrix.org/v1.19/client-server-api/#room-tagging */
import { MatrixError } from "../../spec/errors.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import { refuseGuest } from "../accounts/accounts.ts";
import type { Caller } from "../route.ts";

const TYPE = "m.tag";
const MAX_TAGS = 1_000;

interface Place {
  userId: UserId;
  roomId: RoomId;
  type: string;
}

/** What tags are kept in. */
interface Store {
  find(place: Place): Promise<JsonObject | undefined>;
  change(place: Place, change: (before: JsonObject) => JsonObject): Promise<void>;
}

export class Tags {
  readonly #accountData: Store;

  constructor(accountData: Store) {
    this.#accountData = accountData;
  }

  async list(userId: UserId, roomId: RoomId): Promise<JsonObject> {
    return tagsOf((await this.#accountData.find({ userId, roomId, type: TYPE })) ?? {});
  }

  /** @throws MatrixError M_GUEST_ACCESS_FORBIDDEN, M_FORBIDDEN for too many */
  async put(caller: Caller, roomId: RoomId, tag: string, content: JsonObject): Promise<void> {
    refuseGuest(caller);
    await this.#change(caller.userId, roomId, (tags) => {
      const changed = { ...tags, [tag]: content };
      if (Object.keys(changed).length <= MAX_TAGS) return changed;
      throw new MatrixError("M_FORBIDDEN", `a room has at most ${MAX_TAGS} tags`);
    });
  }

  /** @throws MatrixError M_GUEST_ACCESS_FORBIDDEN */
  async remove(caller: Caller, roomId: RoomId, tag: string): Promise<void> {
    refuseGuest(caller);
    await this.#change(caller.userId, roomId, (tags) =>
      Object.fromEntries(Object.entries(tags).filter(([name]) => name !== tag)),
    );
  }

  #change(userId: UserId, roomId: RoomId, change: (tags: JsonObject) => JsonObject): Promise<void> {
    return this.#accountData.change({ userId, roomId, type: TYPE }, (before) => {
      const tags = tagsOf(before);
      const changed = change(tags);
      // Without tags before and after there is nothing to tell of.
      return Object.keys(tags).length + Object.keys(changed).length === 0
        ? before
        : { ...before, tags: changed };
    });
  }
}

/** Account data may hold anything under this type. */
function tagsOf(content: JsonObject): JsonObject {
  const { tags } = content;
  return isObject(tags) ? tags : {};
}
