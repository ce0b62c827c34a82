/**
 * Membership of rooms: https://spec.matrix.org/v1.19/client-server-api/#room-membership
 */
import { MatrixError } from "../../spec/errors.ts";
import { isUserId, type RoomId, serverNameOf, type UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import * as rooms from "../../storage/rooms.ts";
import type { Membership } from "../../storage/rooms.ts";
import type { Stream } from "../stream/stream.ts";
import type { EventWriter, Plan } from "./event-writer.ts";
import type { RoomHead } from "./room-head.ts";

/** What a member event says of its user. */
export interface MemberProfile {
  displayname?: string;
  avatar_url?: string;
}

export interface MembershipDeps {
  writer: EventWriter;
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append">;
  isLocal(serverName: string): boolean;
  findProfile(userId: UserId): Promise<MemberProfile>;
  /** @throws MatrixError where the user may not act: suspended, locked, deactivated */
  assertMayAct(userId: UserId): Promise<void>;
  /** Whether a local user wants no invites: `m.invite_permission_config`. */
  blocksInvites(userId: UserId): Promise<boolean>;
}

export interface MembershipChange {
  roomId: RoomId;
  sender: UserId;
  /** Whose membership changes; the sender's own where absent. */
  target?: UserId;
  reason?: string | undefined;
  /** Further content, such as `is_direct` of an invite. */
  content?: JsonObject;
}

export class MembershipChanges {
  readonly #deps: MembershipDeps;

  constructor(deps: MembershipDeps) {
    this.#deps = deps;
  }

  /**
   * Joins a room we are in. Joined already, it does nothing.
   *
   * @throws MatrixError M_NOT_FOUND, M_FORBIDDEN, M_UNABLE_TO_AUTHORISE_JOIN
   */
  async join({ roomId, sender, reason, content }: MembershipChange): Promise<void> {
    await this.#deps.assertMayAct(sender);
    const profile = await this.#deps.findProfile(sender);
    await this.#deps.writer.write(roomId, async (head) => {
      if ((await head.membershipOf(sender)) === "join") return { drafts: [] };
      const authoriser = await this.#findAuthoriser(head, sender);
      return this.#plan(sender, sender, {
        ...content,
        ...profile,
        membership: "join",
        ...withReason(reason),
        ...(authoriser === undefined ? {} : { join_authorised_via_users_server: authoriser }),
      });
    });
  }

  /** @throws MatrixError M_FORBIDDEN, M_INVITE_BLOCKED, M_NOT_FOUND */
  async invite(change: MembershipChange & { target: UserId }): Promise<void> {
    const { roomId, sender, target, reason, content } = change;
    await this.#deps.assertMayAct(sender);
    const member = await this.inviteContent(target);
    await this.#deps.writer.write(roomId, async (head) => {
      const before = await head.membershipOf(target);
      if ((await head.membershipOf(sender)) !== "join") {
        throw new MatrixError("M_FORBIDDEN", "only members invite");
      }
      if (before === "join") throw new MatrixError("M_FORBIDDEN", "already in the room");
      if (before === "invite") return { drafts: [] };
      return this.#plan(sender, target, { ...content, ...member, ...withReason(reason) });
    });
  }

  /**
   * The content of an invite.
   *
   * @throws MatrixError M_INVITE_BLOCKED, and M_NOT_FOUND for a user of a server we cannot reach
   */
  async inviteContent(target: UserId): Promise<JsonObject> {
    if (!this.#deps.isLocal(serverNameOf(target))) {
      throw new MatrixError("M_NOT_FOUND", "the user's server cannot be reached", { status: 400 });
    }
    if (await this.#deps.blocksInvites(target)) {
      throw new MatrixError("M_INVITE_BLOCKED", "the user wants no invites");
    }
    return { ...(await this.#deps.findProfile(target)), membership: "invite" };
  }

  /** @throws MatrixError M_NOT_FOUND, M_FORBIDDEN */
  async knock({ roomId, sender, reason }: MembershipChange): Promise<void> {
    await this.#deps.assertMayAct(sender);
    const profile = await this.#deps.findProfile(sender);
    await this.#deps.writer.write(roomId, async (head) => {
      if ((await head.membershipOf(sender)) === "knock") return { drafts: [] };
      return this.#plan(sender, sender, { ...profile, membership: "knock", ...withReason(reason) });
    });
  }

  /**
   * Leaves a room, rejects its invite or takes back a knock. Left already, it does nothing. A
   * suspended user may leave.
   *
   * @throws MatrixError M_NOT_FOUND, M_FORBIDDEN for who never was in it
   */
  async leave({ roomId, sender, reason }: MembershipChange): Promise<void> {
    await this.#deps.writer.write(roomId, async (head) => {
      const before = await head.membershipOf(sender);
      if (before === "leave") return { drafts: [] };
      if (before === undefined) throw new MatrixError("M_FORBIDDEN", "not in the room");
      return this.#plan(sender, sender, { membership: "leave", ...withReason(reason) });
    });
  }

  /** @throws MatrixError M_FORBIDDEN also where the target is not in the room */
  async kick(change: MembershipChange & { target: UserId }): Promise<void> {
    await this.#remove(change, ["join", "invite", "knock"], "leave");
  }

  /** @throws MatrixError M_FORBIDDEN */
  async ban(change: MembershipChange & { target: UserId }): Promise<void> {
    await this.#remove(change, [undefined, "join", "invite", "knock", "leave"], "ban");
  }

  /** @throws MatrixError M_FORBIDDEN also where the target is not banned */
  async unban(change: MembershipChange & { target: UserId }): Promise<void> {
    await this.#remove(change, ["ban"], "leave");
  }

  async #remove(
    { roomId, sender, target, reason }: MembershipChange & { target: UserId },
    from: readonly (Membership | undefined)[],
    to: Membership,
  ): Promise<void> {
    await this.#deps.assertMayAct(sender);
    await this.#deps.writer.write(roomId, async (head) => {
      const before = await head.membershipOf(target);
      if (before === to && to === "ban") return { drafts: [] };
      if (!from.includes(before)) {
        throw new MatrixError(
          "M_FORBIDDEN",
          to === "leave" && from.includes("ban") ? "the user is not banned" : "not in the room",
        );
      }
      return this.#plan(sender, target, { membership: to, ...withReason(reason) });
    });
  }

  /**
   * Sets a member event whose content a client wrote itself.
   *
   * @returns the event's ID
   * @throws MatrixError M_BAD_JSON, M_FORBIDDEN, M_INVITE_BLOCKED
   */
  async setMember(
    change: Required<Pick<MembershipChange, "roomId" | "sender" | "target" | "content">>,
  ): Promise<string> {
    const { roomId, sender, target, content } = change;
    if (content["membership"] !== "leave" || sender !== target) {
      await this.#deps.assertMayAct(sender);
    }
    if (!isUserId(target)) throw new MatrixError("M_BAD_JSON", "state_key: not a user ID");
    const { membership } = content;
    if (typeof membership !== "string")
      throw new MatrixError("M_BAD_JSON", "membership: expected a string");
    const invited = membership === "invite" ? await this.inviteContent(target) : {};
    let existing: string | undefined;
    const [written] = await this.#deps.writer.write(roomId, async (head) => {
      const { join_authorised_via_users_server: _, ...own } = content;
      existing = undefined;
      const before = await head.stateEvent("m.room.member", target);
      const was = before?.pdu.content["membership"];
      if (membership === was && membership !== "join" && before?.pdu.sender === sender) {
        existing = before.eventId;
        return { drafts: [] };
      }
      const authoriser =
        membership === "join" && was !== "join"
          ? await this.#findAuthoriser(head, sender)
          : undefined;
      return this.#plan(sender, target, {
        ...invited,
        ...own,
        ...(authoriser === undefined ? {} : { join_authorised_via_users_server: authoriser }),
      });
    });
    const eventId = existing ?? written?.eventId;
    if (eventId === undefined) throw new Error("nothing was written");
    return eventId;
  }

  /**
   * Forgets a room that the user has left.
   *
   * @throws MatrixError M_UNKNOWN (400) for a room the user is still in, M_NOT_FOUND
   */
  async forget(roomId: RoomId, userId: UserId): Promise<void> {
    const head = await this.#deps.writer.head(roomId);
    const row = await rooms.findMembership(this.#deps.database.db, head.nid, userId);
    if (row === undefined) throw new MatrixError("M_NOT_FOUND", "never in the room");
    if (row.membership !== "leave" && row.membership !== "ban") {
      throw new MatrixError("M_UNKNOWN", "leave the room before forgetting it", { status: 400 });
    }
    if (row.forgotten) return;
    await this.#deps.stream.append({
      entries: [{ kind: "forget", roomId, userId }],
      write: async (tx) => {
        await rooms.forget(tx, head.nid, userId);
      },
    });
  }

  /** Puts a new profile into the member events of all rooms the user is in. */
  async updateProfile(userId: UserId, profile: MemberProfile): Promise<void> {
    const memberships = await rooms.listMembershipsOf(this.#deps.database.db, userId);
    for (const { room_id: roomId, membership } of memberships) {
      if (membership !== "join") continue;
      await this.#deps.writer
        .write(roomId, async (head) => {
          const before = await head.stateEvent("m.room.member", userId);
          if (before?.pdu.content["membership"] !== "join") return { drafts: [] };
          const { displayname: _, avatar_url: __, ...rest } = before.pdu.content;
          return this.#plan(userId, userId, { ...rest, ...profile });
        })
        .catch((error: unknown) => {
          // A room that refuses it, such as by its ACL, keeps the old profile.
          if (!(error instanceof MatrixError)) throw error;
        });
    }
  }

  /**
   * Leaves all rooms, rejecting invites and taking back knocks. One that cannot be left does not keep
   * the user in the others.
   *
   * @throws AggregateError with what went wrong, once all have been tried
   */
  async leaveAll(userId: UserId): Promise<void> {
    const memberships = await rooms.listMembershipsOf(this.#deps.database.db, userId);
    const errors: unknown[] = [];
    for (const { room_id: roomId, membership } of memberships) {
      if (membership === "leave" || membership === "ban") continue;
      await this.leave({ roomId, sender: userId }).catch((error: unknown) => errors.push(error));
    }
    if (errors.length > 0) throw new AggregateError(errors, `${userId} is still in rooms`);
  }

  #plan(sender: UserId, target: UserId, content: JsonObject): Plan {
    return { drafts: [{ type: "m.room.member", sender, stateKey: target, content }] };
  }

  /**
   * The member who vouches for a join of a restricted room; undefined where nobody has to.
   *
   * https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms
   */
  async #findAuthoriser(head: RoomHead, userId: UserId): Promise<UserId | undefined> {
    const rules = await head.stateContent("m.room.join_rules");
    const rule = rules?.["join_rule"];
    const isRestricted =
      (rule === "restricted" && head.version.restrictedJoin) ||
      (rule === "knock_restricted" && head.version.knockRestrictedJoin);
    if (!isRestricted) return undefined;
    const membership = await head.membershipOf(userId);
    if (membership === "invite" || membership === "join") return undefined;
    if (!(await this.#isAllowed(rules?.["allow"], userId))) {
      throw new MatrixError("M_FORBIDDEN", "in none of the rooms whose members may join");
    }
    const levels = await head.powerLevels();
    const members = await rooms.listLocalJoined(this.#deps.database.db, head.nid);
    const authoriser = members.find((member) => levels.powerOf(member) >= levels.invite);
    if (authoriser === undefined) {
      throw new MatrixError("M_UNABLE_TO_GRANT_JOIN", "no member here may let others in");
    }
    return authoriser;
  }

  async #isAllowed(allow: unknown, userId: UserId): Promise<boolean> {
    if (!Array.isArray(allow)) return false;
    for (const condition of allow) {
      if (!isObject(condition) || condition["type"] !== "m.room_membership") continue;
      const { room_id: roomId } = condition;
      if (typeof roomId !== "string") continue;
      const other = await this.#deps.writer.findHead(roomId as RoomId);
      if (other !== undefined && (await other.membershipOf(userId)) === "join") return true;
    }
    return false;
  }
}

function withReason(reason: string | undefined): { reason?: string } {
  return reason === undefined ? {} : { reason };
}
