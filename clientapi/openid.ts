/** OpenID: https://spec.matrix.org/v1.19/client-server-api/#openid */
import { type OpenId, refuseGuest } from "../server/accounts/accounts.ts";
import { type Route, route } from "../server/route.ts";
import { userId } from "../spec/identifiers.ts";
import { anyObject, object } from "../spec/shape.ts";
import { refuseOthers } from "./own-user.ts";

export function openid(openId: Pick<OpenId, "createToken">): Route[] {
  return [
    route({
      method: "POST",
      path: "/_matrix/client/v3/user/:userId/openid/request_token",
      aliases: ["/_matrix/client/r0/user/:userId/openid/request_token"],
      access: "user",
      params: object({ userId }),
      body: anyObject,
      emptyBody: true,
      async handle({ caller, params }) {
        refuseOthers(caller, params.userId);
        refuseGuest(caller);
        return openId.createToken(caller.userId);
      },
    }),
  ];
}
