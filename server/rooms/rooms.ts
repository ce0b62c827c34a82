/** Rooms: creating them, sending into them, changing their state and membership, reading state. */
import type { Signer } from "../../spec/event-format.ts";
import type { RoomId, ServerName, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import type { Nids } from "../../storage/nids.ts";
import type { Stream } from "../stream/stream.ts";
import { Aliases } from "./aliases.ts";
import { createRoom, type NewRoomRequest } from "./create-room.ts";
import { EventWriter } from "./event-writer.ts";
import { type MemberProfile, MembershipChanges } from "./membership.ts";
import { RoomReads } from "./room-reads.ts";
import { Sending } from "./send.ts";
import type { StateStore } from "./state-store.ts";

export { StateStore } from "./state-store.ts";
export { placeKey, type PlaceKey } from "./state-store.ts";
export { heldEvent, versionOf } from "./room-head.ts";
export type { EventWriter } from "./event-writer.ts";
export type { NewRoomRequest, Preset } from "./create-room.ts";

export interface RoomsDeps {
  database: Pick<Database, "db">;
  stream: Stream;
  nids: Nids;
  states: StateStore;
  signer: Signer;
  serverName: ServerName;
  defaultVersion: string;
  clock(): number;
  /** A room ID for versions that have their own, and the opaque part of event IDs of versions 1 and 2. */
  newRoomId(): RoomId;
  isLocal(serverName: ServerName): boolean;
  findProfile(userId: UserId): Promise<MemberProfile>;
  /** @throws MatrixError where the user may not act: suspended, locked, deactivated */
  assertMayAct(userId: UserId, act?: { evenSuspended: boolean }): Promise<void>;
  isAdmin(userId: UserId): Promise<boolean>;
  blocksInvites(userId: UserId): Promise<boolean>;
}

export class Rooms {
  readonly #deps: RoomsDeps;
  readonly writer: EventWriter;
  readonly messages: Sending;
  readonly membership: MembershipChanges;
  readonly aliases: Aliases;
  readonly reads: RoomReads;

  constructor(deps: RoomsDeps) {
    this.#deps = deps;
    this.writer = new EventWriter(deps);
    const { writer } = this;
    this.messages = new Sending({ ...deps, writer });
    this.membership = new MembershipChanges({ ...deps, writer });
    this.aliases = new Aliases({ ...deps, writer });
    this.reads = new RoomReads({ ...deps, writer });
  }

  create(request: NewRoomRequest): Promise<RoomId> {
    return createRoom({ ...this.#deps, writer: this.writer, membership: this.membership }, request);
  }

  [Symbol.dispose](): void {
    this.writer[Symbol.dispose]();
  }
}
