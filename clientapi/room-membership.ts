/** Room membership: https://spec.matrix.org/v1.19/client-server-api/#room-membership */
import type { Rooms } from "../server/rooms/rooms.ts";
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import {
  isRoomId,
  type RoomAlias,
  type RoomId,
  roomId,
  roomIdOrAlias,
  serverName,
  userId,
} from "../spec/identifiers.ts";
import {
  anyObject,
  nullable,
  object,
  optional,
  queryList,
  type Shape,
  string,
} from "../spec/shape.ts";

type Membership = Rooms["membership"];
type Deps = {
  membership: Membership;
  aliases: Pick<Rooms["aliases"], "resolve">;
  reads: Pick<Rooms["reads"], "joinedRooms">;
};

/** Servers that a request may name to join through. */
const MAX_VIA = 50;

const params = object({ roomId });
const target = object({ user_id: userId, reason: nullable(string) });
const reasonOnly = object({ reason: nullable(string) });
const joining = object({
  reason: nullable(string),
  third_party_signed: nullable(thirdPartySigned()),
});
const via = object({
  via: optional(queryList(serverName, { max: MAX_VIA })),
  server_name: optional(queryList(serverName, { max: MAX_VIA })),
});

export function roomMembership({ membership, aliases, reads }: Deps): Route[] {
  const resolve = async (id: RoomId | RoomAlias): Promise<RoomId> =>
    isRoomId(id) ? id : (await aliases.resolve(id)).roomId;

  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/joined_rooms",
      aliases: ["/_matrix/client/r0/joined_rooms"],
      access: "user",
      async handle({ caller }) {
        return { joined_rooms: await reads.joinedRooms(caller.userId) };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/join/:roomIdOrAlias",
      aliases: ["/_matrix/client/r0/join/:roomIdOrAlias"],
      access: "user",
      params: object({ roomIdOrAlias }),
      query: via,
      body: joining,
      emptyBody: true,
      rateLimit: "rc_joins.local",
      async handle({ caller, params, body }) {
        const id = await resolve(params.roomIdOrAlias);
        refuseThirdParty(body);
        await membership.join({ roomId: id, sender: caller.userId, reason: body.reason });
        return { room_id: id };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/rooms/:roomId/join",
      aliases: ["/_matrix/client/r0/rooms/:roomId/join"],
      access: "user",
      params,
      body: joining,
      emptyBody: true,
      rateLimit: "rc_joins.local",
      async handle({ caller, params, body }) {
        refuseThirdParty(body);
        await membership.join({ ...params, sender: caller.userId, reason: body.reason });
        return { room_id: params.roomId };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/knock/:roomIdOrAlias",
      aliases: ["/_matrix/client/unstable/xyz.amorgan.knock/knock/:roomIdOrAlias"],
      access: "user",
      params: object({ roomIdOrAlias }),
      query: via,
      body: reasonOnly,
      emptyBody: true,
      rateLimit: "rc_joins.local",
      async handle({ caller, params, body }) {
        const id = await resolve(params.roomIdOrAlias);
        await membership.knock({ roomId: id, sender: caller.userId, reason: body.reason });
        return { room_id: id };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/rooms/:roomId/leave",
      aliases: ["/_matrix/client/r0/rooms/:roomId/leave"],
      access: "user",
      params,
      body: reasonOnly,
      emptyBody: true,
      async handle({ caller, params, body }) {
        await membership.leave({ ...params, sender: caller.userId, reason: body.reason });
        return {};
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/rooms/:roomId/forget",
      aliases: ["/_matrix/client/r0/rooms/:roomId/forget"],
      access: "user",
      params,
      async handle({ caller, params }) {
        await membership.forget(params.roomId, caller.userId);
        return {};
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/rooms/:roomId/invite",
      aliases: ["/_matrix/client/r0/rooms/:roomId/invite"],
      access: "user",
      params,
      body: inviting(),
      rateLimit: "rc_invites.per_issuer",
      async handle({ caller, params, body }) {
        await membership.invite({
          ...params,
          sender: caller.userId,
          target: body.user_id,
          reason: body.reason,
        });
        return {};
      },
    }),
    ...(["kick", "ban", "unban"] as const).map((change) =>
      route({
        method: "POST",
        path: `/_matrix/client/v3/rooms/:roomId/${change}`,
        aliases: [`/_matrix/client/r0/rooms/:roomId/${change}`],
        access: "user",
        params,
        body: target,
        async handle({ caller, params, body }) {
          await membership[change]({
            ...params,
            sender: caller.userId,
            target: body.user_id,
            reason: body.reason,
          });
          return {};
        },
      }),
    ),
  ];
}

/** An invite by user ID. One by e-mail address or phone number needs an identity server. */
function inviting(): typeof target {
  return {
    read(value, place) {
      const body = anyObject.read(value, place);
      if (body["user_id"] === undefined && body["medium"] !== undefined) {
        object({
          id_server: string,
          id_access_token: string,
          medium: string,
          address: string,
        }).read(body, place);
        throw new MatrixError("M_SERVER_NOT_TRUSTED", "no identity server is trusted here");
      }
      return target.read(body, place);
    },
  };
}

/** https://spec.matrix.org/v1.19/client-server-api/#third-party-invites */
function thirdPartySigned(): Shape<object> {
  return object({ sender: userId, mxid: userId, token: string, signatures: anyObject });
}

function refuseThirdParty(body: { third_party_signed?: object | undefined }): void {
  if (body.third_party_signed !== undefined) {
    throw new MatrixError("M_FORBIDDEN", "the room has no such third-party invite");
  }
}
