/** Account data: https://spec.matrix.org/v1.19/client-server-api/#client-config */
import { type AccountData, MAX_CONTENT_BYTES } from "../server/account-data/account-data.ts";
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { roomId, userId } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import { anyObject, type JsonObject, object } from "../spec/shape.ts";
import { refuseOthers } from "./own-user.ts";

const GLOBAL = "/_matrix/client/v3/user/:userId/account_data/:type";
const GLOBAL_R0 = ["/_matrix/client/r0/user/:userId/account_data/:type"];
const OF_ROOM = "/_matrix/client/v3/user/:userId/rooms/:roomId/account_data/:type";
const OF_ROOM_R0 = ["/_matrix/client/r0/user/:userId/rooms/:roomId/account_data/:type"];

const type = plainText();
const global = object({ userId, type });
const ofRoom = object({ userId, roomId, type });

export function accountData(accountData: AccountData): Route[] {
  return [
    route({
      method: "GET",
      path: GLOBAL,
      aliases: GLOBAL_R0,
      access: "user",
      params: global,
      async handle({ caller, params }) {
        refuseOthers(caller, params.userId);
        return found(await accountData.find(params));
      },
    }),
    route({
      method: "PUT",
      path: GLOBAL,
      aliases: GLOBAL_R0,
      access: "user",
      params: global,
      body: anyObject,
      maxBodyBytes: MAX_CONTENT_BYTES,
      async handle({ caller, params, body }) {
        refuseOthers(caller, params.userId);
        await accountData.set(caller, params, body);
        return {};
      },
    }),
    route({
      method: "GET",
      path: OF_ROOM,
      aliases: OF_ROOM_R0,
      access: "user",
      params: ofRoom,
      async handle({ caller, params }) {
        refuseOthers(caller, params.userId);
        return found(await accountData.find(params));
      },
    }),
    route({
      method: "PUT",
      path: OF_ROOM,
      aliases: OF_ROOM_R0,
      access: "user",
      params: ofRoom,
      body: anyObject,
      maxBodyBytes: MAX_CONTENT_BYTES,
      async handle({ caller, params, body }) {
        refuseOthers(caller, params.userId);
        await accountData.set(caller, params, body);
        return {};
      },
    }),
  ];
}

function found(content: JsonObject | undefined): JsonObject {
  if (content === undefined) throw new MatrixError("M_NOT_FOUND", "Account data not found");
  return content;
}
