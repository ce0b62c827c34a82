/** Presence: https://spec.matrix.org/v1.19/client-server-api/#presence */
import type { Presence } from "../server/presence/presence.ts";
import { type Route, route } from "../server/route.ts";
import { userId } from "../spec/identifiers.ts";
import { object, oneOf, optional, text } from "../spec/shape.ts";
import { refuseOthers } from "./own-user.ts";

const PATH = "/_matrix/client/v3/presence/:userId/status";
const R0 = ["/_matrix/client/r0/presence/:userId/status"];
const MAX_STATUS_BYTES = 2048;

export function presence(presence: Pick<Presence, "get" | "set">): Route[] {
  return [
    route({
      method: "GET",
      path: PATH,
      aliases: R0,
      access: "user",
      params: object({ userId }),
      async handle({ caller, params }) {
        return presence.get(caller.userId, params.userId);
      },
    }),
    route({
      method: "PUT",
      path: PATH,
      aliases: R0,
      access: "user",
      params: object({ userId }),
      body: object({
        presence: oneOf("online", "offline", "unavailable"),
        status_msg: optional(text({ maxBytes: MAX_STATUS_BYTES })),
      }),
      rateLimit: "rc_presence.per_user",
      async handle({ caller, params, body }) {
        refuseOthers(caller, params.userId);
        await presence.set(caller, body.presence, body.status_msg);
        return {};
      },
    }),
  ];
}
