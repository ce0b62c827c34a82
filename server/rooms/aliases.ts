/** Room aliases and the directory's visibility: https://spec.matrix.org/v1.19/client-server-api/#room-aliases */
import { MatrixError } from "../../spec/errors.ts";
import { type RoomAlias, type RoomId, serverNameOf, type UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as roomAliases from "../../storage/room-aliases.ts";
import * as rooms from "../../storage/rooms.ts";
import type { EventWriter } from "./event-writer.ts";

interface Deps {
  writer: EventWriter;
  database: Pick<Database, "db">;
  isLocal(serverName: string): boolean;
  isAdmin(userId: UserId): Promise<boolean>;
  assertMayAct(userId: UserId): Promise<void>;
  clock(): number;
}

export class Aliases {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** @throws MatrixError M_NOT_FOUND */
  async resolve(alias: RoomAlias): Promise<{ roomId: RoomId; servers: string[] }> {
    const found = this.#deps.isLocal(serverNameOf(alias))
      ? await roomAliases.find(this.#deps.database.db, alias)
      : undefined;
    const head = found && (await this.#deps.writer.findHead(found.room_id));
    if (head === undefined) throw new MatrixError("M_NOT_FOUND", "no room has this alias");
    return {
      roomId: head.roomId,
      servers: await rooms.listServers(this.#deps.database.db, head.nid),
    };
  }

  /**
   * Points a new alias of ours to a room that the user is in.
   *
   * @throws MatrixError M_UNKNOWN (409) where it is taken, M_INVALID_PARAM, M_FORBIDDEN
   */
  async create(alias: RoomAlias, roomId: RoomId, creator: UserId): Promise<void> {
    await this.#deps.assertMayAct(creator);
    if (!this.#deps.isLocal(serverNameOf(alias))) {
      throw new MatrixError("M_INVALID_PARAM", "an alias of another server");
    }
    const head = await this.#deps.writer.head(roomId);
    if ((await head.membershipOf(creator)) !== "join") {
      throw new MatrixError("M_FORBIDDEN", "not in the room");
    }
    const row = { alias, room_id: roomId, creator, created_ts: this.#deps.clock() };
    const isNew = await this.#deps.database.db
      .transaction()
      .execute((tx) => roomAliases.insert(tx, row));
    if (!isNew) {
      throw new MatrixError("M_UNKNOWN", "the alias is taken", { status: 409 });
    }
  }

  /**
   * Removes an alias: its creator's right, a room moderator's and an administrator's.
   *
   * @throws MatrixError M_NOT_FOUND, M_FORBIDDEN
   */
  async remove(alias: RoomAlias, userId: UserId): Promise<void> {
    await this.#deps.assertMayAct(userId);
    const { db } = this.#deps.database;
    const found = await roomAliases.find(db, alias);
    if (found === undefined) throw new MatrixError("M_NOT_FOUND", "no such alias");
    const head = await this.#deps.writer.findHead(found.room_id);
    const mayRemove =
      found.creator === userId ||
      (await this.#deps.isAdmin(userId)) ||
      (head !== undefined &&
        (await head.membershipOf(userId)) === "join" &&
        (await head.powerLevels()).powerOf(userId) >=
          (await head.powerLevels()).levelFor("m.room.canonical_alias", true));
    if (!mayRemove) throw new MatrixError("M_FORBIDDEN", "another user's alias");
    await db.transaction().execute((tx) => roomAliases.remove(tx, alias));
  }

  /** @throws MatrixError M_FORBIDDEN for who is not in the room, unless it is world-readable */
  async list(roomId: RoomId, userId: UserId): Promise<RoomAlias[]> {
    const head = await this.#deps.writer.findHead(roomId);
    const isAllowed =
      head !== undefined &&
      ((await head.membershipOf(userId)) === "join" ||
        (await head.stateContent("m.room.history_visibility"))?.["history_visibility"] ===
          "world_readable");
    if (!isAllowed) throw new MatrixError("M_FORBIDDEN", "not in the room");
    return roomAliases.listOfRoom(this.#deps.database.db, roomId);
  }

  /** Whether a room is shown in the directory. @throws MatrixError M_NOT_FOUND */
  async isPublished(roomId: RoomId): Promise<boolean> {
    const room = await rooms.findRoom(this.#deps.database.db, roomId);
    if (room === undefined) throw new MatrixError("M_NOT_FOUND", "no such room");
    return room.is_published;
  }

  /** Shows a room in the directory, or no longer. @throws MatrixError M_NOT_FOUND, M_FORBIDDEN */
  async publish(roomId: RoomId, userId: UserId, isPublished: boolean): Promise<void> {
    await this.#deps.assertMayAct(userId);
    const head = await this.#deps.writer.head(roomId);
    const levels = await head.powerLevels();
    const mayPublish =
      ((await head.membershipOf(userId)) === "join" &&
        levels.powerOf(userId) >= levels.levelFor("m.room.canonical_alias", true)) ||
      (await this.#deps.isAdmin(userId));
    if (!mayPublish)
      throw new MatrixError("M_FORBIDDEN", "it takes the power to set the main alias");
    await this.#deps.database.db
      .transaction()
      .execute((tx) => rooms.setPublished(tx, head.nid, isPublished));
  }
}
