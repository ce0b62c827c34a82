/** Typing notifications: https://spec.matrix.org/v1.19/client-server-api/#typing-notifications */
import { type Route, route } from "../server/route.ts";
import type { Typing } from "../server/typing/typing.ts";
import { roomId, userId } from "../spec/identifiers.ts";
import { boolean, integer, object, optional } from "../spec/shape.ts";
import { refuseOthers } from "./own-user.ts";

export function typingNotifications(typing: Pick<Typing, "set">): Route[] {
  return [
    route({
      method: "PUT",
      path: "/_matrix/client/v3/rooms/:roomId/typing/:userId",
      aliases: ["/_matrix/client/r0/rooms/:roomId/typing/:userId"],
      access: "user",
      params: object({ roomId, userId }),
      body: object({ typing: boolean, timeout: optional(integer({ min: 0 })) }),
      async handle({ caller, params, body }) {
        refuseOthers(caller, params.userId);
        await typing.set(caller, params.roomId, body.typing, body.timeout);
        return {};
      },
    }),
  ];
}
