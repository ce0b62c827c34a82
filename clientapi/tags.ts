/** Tags: https://spec.matrix.org/v1.19/client-server-api/#room-tagging */
import type { Tags } from "../server/account-data/account-data.ts";
import { type Route, route } from "../server/route.ts";
import { roomId, userId } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import { anyObject, badJson, object, refine } from "../spec/shape.ts";
import { refuseOthers } from "./own-user.ts";

const PATH = "/_matrix/client/v3/user/:userId/rooms/:roomId/tags/:tag";
const R0 = ["/_matrix/client/r0/user/:userId/rooms/:roomId/tags/:tag"];

const params = object({ userId, roomId, tag: plainText() });
const content = refine(anyObject, (value, place) => {
  const { order } = value;
  // A fraction, which may be written so that a double would not.
  if (order !== undefined && typeof order?.valueOf() !== "number") {
    throw badJson(`${place}.order`, "a number");
  }
  return value;
});

export function tags(tags: Tags): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/user/:userId/rooms/:roomId/tags",
      aliases: ["/_matrix/client/r0/user/:userId/rooms/:roomId/tags"],
      access: "user",
      params: object({ userId, roomId }),
      async handle({ caller, params }) {
        refuseOthers(caller, params.userId);
        return { tags: await tags.list(params.userId, params.roomId) };
      },
    }),
    route({
      method: "PUT",
      path: PATH,
      aliases: R0,
      access: "user",
      params,
      body: content,
      emptyBody: true,
      async handle({ caller, params, body }) {
        refuseOthers(caller, params.userId);
        await tags.put(caller, params.roomId, params.tag, body);
        return {};
      },
    }),
    route({
      method: "DELETE",
      path: PATH,
      aliases: R0,
      access: "user",
      params,
      async handle({ caller, params }) {
        refuseOthers(caller, params.userId);
        await tags.remove(caller, params.roomId, params.tag);
        return {};
      },
    }),
  ];
}
