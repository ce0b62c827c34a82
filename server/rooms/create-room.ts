/** Creating rooms: https://spec.matrix.org/v1.19/client-server-api/#creation */
import { MatrixError } from "../../spec/errors.ts";
import {
  isRoomAlias,
  type RoomAlias,
  type RoomId,
  type ServerName,
  type UserId,
} from "../../spec/identifiers.ts";
import { type RoomVersion, roomVersions } from "../../spec/room-versions.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import * as roomAliases from "../../storage/room-aliases.ts";
import type { EventDraft, EventWriter, Plan } from "./event-writer.ts";
import type { MembershipChanges, MembershipDeps } from "./membership.ts";
import { aliasesIn, checkState } from "./state-checks.ts";

export type Preset = "private_chat" | "public_chat" | "trusted_private_chat";

export interface NewRoomRequest {
  creator: UserId;
  visibility?: "public" | "private" | undefined;
  aliasLocalpart?: string | undefined;
  name?: string | undefined;
  topic?: string | undefined;
  invite?: readonly UserId[] | undefined;
  version?: string | undefined;
  creationContent?: JsonObject | undefined;
  initialState?:
    | readonly { type: string; state_key?: string | undefined; content: JsonObject }[]
    | undefined;
  preset?: Preset | undefined;
  isDirect?: boolean | undefined;
  powerLevelOverride?: JsonObject | undefined;
}

interface Deps extends Pick<MembershipDeps, "findProfile" | "assertMayAct"> {
  writer: EventWriter;
  database: Pick<Database, "db">;
  membership: Pick<MembershipChanges, "inviteContent">;
  serverName: ServerName;
  defaultVersion: string;
  clock(): number;
}

const PRESETS: Record<Preset, { joinRule: string; guestAccess: string }> = {
  private_chat: { joinRule: "invite", guestAccess: "can_join" },
  trusted_private_chat: { joinRule: "invite", guestAccess: "can_join" },
  public_chat: { joinRule: "public", guestAccess: "forbidden" },
};

/** Invites that one request may hold. */
const MAX_INVITES = 100;

/**
 * Creates a room with all its first events, and its alias, in one commit.
 *
 * @throws MatrixError M_UNSUPPORTED_ROOM_VERSION, M_ROOM_IN_USE, M_INVALID_ROOM_STATE, M_INVALID_PARAM,
 *   M_INVITE_BLOCKED, M_FORBIDDEN
 */
export async function createRoom(deps: Deps, request: NewRoomRequest): Promise<RoomId> {
  const { creator } = request;
  await deps.assertMayAct(creator);
  const version = roomVersions.get(request.version ?? deps.defaultVersion);
  if (version === undefined) {
    throw new MatrixError("M_UNSUPPORTED_ROOM_VERSION", "this server does not know the version");
  }
  const alias = aliasOf(request, deps.serverName);
  if (alias !== undefined && (await roomAliases.find(deps.database.db, alias)) !== undefined) {
    throw new MatrixError("M_ROOM_IN_USE", "the alias is taken");
  }
  const invites = [...new Set(request.invite)];
  if (invites.length > MAX_INVITES) {
    throw new MatrixError("M_INVALID_PARAM", `more than ${MAX_INVITES} invites`);
  }
  const invited = await Promise.all(
    invites.map(async (userId) => ({
      userId,
      content: await deps.membership.inviteContent(userId),
    })),
  );
  const profile = await deps.findProfile(creator);
  const preset =
    request.preset ?? (request.visibility === "public" ? "public_chat" : "private_chat");

  const state = (type: string, content: JsonObject, stateKey = ""): EventDraft => ({
    type,
    sender: creator,
    stateKey,
    content,
  });
  const drafts: EventDraft[] = [
    state("m.room.member", { ...profile, membership: "join" }, creator),
    state("m.room.power_levels", powerLevels(request, version, preset, invites)),
  ];
  if (alias !== undefined) drafts.push(state("m.room.canonical_alias", { alias }));
  drafts.push(...presetAndInitialState(request, preset, state));
  for (const { type, content } of drafts) {
    checkState({ type, content }, { version, serverName: deps.serverName });
    if (type === "m.room.canonical_alias" && aliasesIn(content).some((each) => each !== alias)) {
      throw new MatrixError("M_BAD_ALIAS", "initial_state: the alias does not point to this room");
    }
  }
  for (const { userId, content } of invited) {
    const direct = request.isDirect === true ? { is_direct: true } : {};
    drafts.push(state("m.room.member", { ...content, ...direct }, userId));
  }

  const create = state("m.room.create", createContent(request, version, preset, invites));
  const spec = { version, isPublished: request.visibility === "public" };
  const { roomId } = await deps.writer
    .create(spec, create, (newRoomId): Plan => ({
      drafts,
      ...(alias === undefined
        ? {}
        : {
            async write(tx) {
              const row = { alias, room_id: newRoomId, creator, created_ts: deps.clock() };
              if (!(await roomAliases.insert(tx, row))) {
                throw new MatrixError("M_ROOM_IN_USE", "the alias is taken");
              }
            },
          }),
    }))
    .catch((error: unknown) => {
      if (error instanceof MatrixError && error.errcode === "M_FORBIDDEN") {
        throw new MatrixError("M_INVALID_ROOM_STATE", error.message, { cause: error });
      }
      throw error;
    });
  return roomId;
}

function aliasOf(
  { aliasLocalpart }: NewRoomRequest,
  serverName: ServerName,
): RoomAlias | undefined {
  if (aliasLocalpart === undefined) return undefined;
  const alias = `#${aliasLocalpart}:${serverName}`;
  if (aliasLocalpart.includes(":") || !isRoomAlias(alias)) {
    throw new MatrixError("M_INVALID_PARAM", "room_alias_name: not the local part of an alias");
  }
  return alias;
}

function createContent(
  { creationContent, creator }: NewRoomRequest,
  version: RoomVersion,
  preset: Preset,
  invites: readonly UserId[],
): JsonObject {
  const content: JsonObject = { ...creationContent, room_version: version.version };
  delete content["creator"];
  if (version.creatorInContent) content["creator"] = creator;
  if (version.privilegedCreators && preset === "trusted_private_chat" && invites.length > 0) {
    const named = content["additional_creators"];
    const additional = Array.isArray(named) ? (named as unknown[]) : [];
    content["additional_creators"] = [...new Set([...additional, ...invites])];
  }
  return content;
}

function powerLevels(
  { creator, powerLevelOverride }: NewRoomRequest,
  version: RoomVersion,
  preset: Preset,
  invites: readonly UserId[],
): JsonObject {
  const users: Record<string, number> = {};
  if (!version.privilegedCreators) {
    users[creator] = 100;
    if (preset === "trusted_private_chat") for (const userId of invites) users[userId] = 100;
  }
  const content: JsonObject = {
    users,
    users_default: 0,
    events: {
      "m.room.name": 50,
      "m.room.avatar": 50,
      "m.room.canonical_alias": 50,
      "m.room.power_levels": 100,
      "m.room.history_visibility": 100,
      "m.room.encryption": 100,
      "m.room.server_acl": 100,
      "m.room.tombstone": version.privilegedCreators ? 150 : 100,
    },
    events_default: 0,
    state_default: 50,
    ban: 50,
    kick: 50,
    redact: 50,
    invite: 0,
    ...powerLevelOverride,
  };
  return content;
}

function presetAndInitialState(
  request: NewRoomRequest,
  preset: Preset,
  state: (type: string, content: JsonObject, stateKey?: string) => EventDraft,
): EventDraft[] {
  const { joinRule, guestAccess } = PRESETS[preset];
  const initial = (request.initialState ?? []).map(({ type, state_key, content }) =>
    state(type, content, state_key ?? ""),
  );
  for (const { type, stateKey } of initial) {
    if (type === "m.room.create" || type === "m.room.member") {
      throw new MatrixError("M_INVALID_ROOM_STATE", `initial_state: ${type} is not allowed`);
    }
    if (stateKey?.includes("\0") === true || type.includes("\0")) {
      throw new MatrixError("M_INVALID_PARAM", "initial_state: U+0000 in a type or state key");
    }
  }
  const fromPreset = [
    state("m.room.join_rules", { join_rule: joinRule }),
    state("m.room.history_visibility", { history_visibility: "shared" }),
    state("m.room.guest_access", { guest_access: guestAccess }),
  ].filter(({ type }) => !initial.some((draft) => draft.type === type && draft.stateKey === ""));
  const named: EventDraft[] = [];
  if (request.name !== undefined) named.push(state("m.room.name", { name: request.name }));
  if (request.topic !== undefined) {
    const { topic } = request;
    const rich = { "m.text": [{ body: topic, mimetype: "text/plain" }] };
    named.push(state("m.room.topic", { topic, "m.topic": rich }));
  }
  const overridden = new Set(named.map(({ type }) => type));
  return [
    ...fromPreset,
    ...initial.filter(({ type, stateKey }) => !(overridden.has(type) && stateKey === "")),
    ...named,
  ];
}
