/** Room aliases: https://spec.matrix.org/v1.19/client-server-api/#room-aliases */
import type { Rooms } from "../server/rooms/rooms.ts";
import { type Route, route } from "../server/route.ts";
import { roomAlias, roomId } from "../spec/identifiers.ts";
import { object, oneOf, withDefault } from "../spec/shape.ts";

const params = object({ roomAlias });

export function roomAliases(aliases: Rooms["aliases"]): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/directory/room/:roomAlias",
      aliases: ["/_matrix/client/r0/directory/room/:roomAlias"],
      access: "public",
      params,
      async handle({ params }) {
        const { roomId: id, servers } = await aliases.resolve(params.roomAlias);
        return { room_id: id, servers };
      },
    }),
    route({
      method: "PUT",
      path: "/_matrix/client/v3/directory/room/:roomAlias",
      aliases: ["/_matrix/client/r0/directory/room/:roomAlias"],
      access: "user",
      params,
      body: object({ room_id: roomId }),
      async handle({ caller, params, body }) {
        await aliases.create(params.roomAlias, body.room_id, caller.userId);
        return {};
      },
    }),
    route({
      method: "DELETE",
      path: "/_matrix/client/v3/directory/room/:roomAlias",
      aliases: ["/_matrix/client/r0/directory/room/:roomAlias"],
      access: "user",
      params,
      async handle({ caller, params }) {
        await aliases.remove(params.roomAlias, caller.userId);
        return {};
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/rooms/:roomId/aliases",
      aliases: ["/_matrix/client/r0/rooms/:roomId/aliases"],
      access: "user",
      params: object({ roomId }),
      async handle({ caller, params }) {
        return { aliases: await aliases.list(params.roomId, caller.userId) };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/directory/list/room/:roomId",
      aliases: ["/_matrix/client/r0/directory/list/room/:roomId"],
      access: "public",
      params: object({ roomId }),
      async handle({ params }) {
        return { visibility: (await aliases.isPublished(params.roomId)) ? "public" : "private" };
      },
    }),
    route({
      method: "PUT",
      path: "/_matrix/client/v3/directory/list/room/:roomId",
      aliases: ["/_matrix/client/r0/directory/list/room/:roomId"],
      access: "user",
      params: object({ roomId }),
      body: object({ visibility: withDefault(oneOf("public", "private"), "public") }),
      emptyBody: true,
      async handle({ caller, params, body }) {
        await aliases.publish(params.roomId, caller.userId, body.visibility !== "private");
        return {};
      },
    }),
  ];
}
