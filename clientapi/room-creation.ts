/** Creation: https://spec.matrix.org/v1.19/client-server-api/#creation */
import type { Rooms } from "../server/rooms/rooms.ts";
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { userId } from "../spec/identifiers.ts";
import {
  anyObject,
  array,
  boolean,
  nullable,
  object,
  oneOf,
  optional,
  string,
  text,
} from "../spec/shape.ts";

const MAX_INITIAL_STATE = 200;

export function roomCreation(rooms: Pick<Rooms, "create">): Route[] {
  return [
    route({
      method: "POST",
      path: "/_matrix/client/v3/createRoom",
      aliases: ["/_matrix/client/r0/createRoom", "/_matrix/client/v1/createRoom"],
      access: "user",
      emptyBody: true,
      maxBodyBytes: 1024 * 1024,
      rateLimit: "rc_room_creation",
      body: object({
        visibility: nullable(oneOf("public", "private")),
        room_alias_name: nullable(string),
        name: nullable(string),
        topic: nullable(string),
        invite: nullable(array(userId)),
        invite_3pid: nullable(
          array(
            object({ id_server: string, id_access_token: string, medium: string, address: string }),
          ),
        ),
        room_version: nullable(string),
        creation_content: nullable(anyObject),
        initial_state: nullable(
          array(
            object({
              type: text({ minBytes: 1, maxBytes: 255 }),
              state_key: optional(text({ maxBytes: 255 })),
              content: anyObject,
            }),
            { max: MAX_INITIAL_STATE },
          ),
        ),
        preset: nullable(oneOf("private_chat", "public_chat", "trusted_private_chat")),
        is_direct: nullable(boolean),
        power_level_content_override: nullable(anyObject),
      }),
      async handle({ caller, body }) {
        if (body.invite_3pid !== undefined && body.invite_3pid.length > 0) {
          throw new MatrixError("M_SERVER_NOT_TRUSTED", "no identity server is trusted here");
        }
        const roomId = await rooms.create({
          creator: caller.userId,
          visibility: body.visibility,
          aliasLocalpart: body.room_alias_name,
          name: body.name,
          topic: body.topic,
          invite: body.invite,
          version: body.room_version,
          creationContent: body.creation_content,
          initialState: body.initial_state,
          preset: body.preset,
          isDirect: body.is_direct,
          powerLevelOverride: body.power_level_content_override,
        });
        return { room_id: roomId };
      },
    }),
  ];
}
