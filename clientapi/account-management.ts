/** Password, deactivation and contacts: https://spec.matrix.org/v1.19/client-server-api/#legacy-account-management */
import {
  type Accounts,
  type AuthData,
  authData,
  type InteractiveAuth,
  refuseGuest,
} from "../server/accounts/accounts.ts";
import { type Caller, type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { isUserId, type UserId } from "../spec/identifiers.ts";
import { boolean, type JsonObject, nullable, object, string } from "../spec/shape.ts";

export function accountManagement({
  accounts,
  interactiveAuth,
  passwordsEnabled,
}: {
  accounts: Accounts;
  interactiveAuth: Pick<InteractiveAuth, "require">;
  passwordsEnabled: boolean;
}): Route[] {
  /** Whom a request concerns: the caller, or without a token whoever's password was right. */
  async function authenticate(
    caller: Caller | undefined,
    name: string,
    auth: AuthData | undefined,
    request: JsonObject,
  ): Promise<UserId> {
    if (caller !== undefined) refuseGuest(caller);
    const { proofs } = await interactiveAuth.require({
      name,
      caller,
      auth,
      request,
      flows: [["m.login.password"]],
    });
    const userId = proofs["m.login.password"]?.["user_id"];
    if (typeof userId !== "string" || !isUserId(userId)) {
      throw new MatrixError("M_FORBIDDEN", "Nobody has authenticated");
    }
    return userId;
  }

  return [
    route({
      method: "POST",
      path: "/_matrix/client/v3/account/password",
      aliases: ["/_matrix/client/r0/account/password"],
      access: "optional",
      rateLimit: "rc_login.address",
      body: object({
        auth: nullable(authData),
        new_password: string,
        logout_devices: nullable(boolean),
      }),
      async handle({ caller, body: { auth, ...request } }) {
        if (!passwordsEnabled) throw new MatrixError("M_FORBIDDEN", "There are no passwords here");
        accounts.checkPassword(request.new_password);
        const name = "POST /_matrix/client/v3/account/password";
        const userId = await authenticate(caller, name, auth, request);
        const logOut = request.logout_devices === false ? "none" : { allBut: caller?.deviceId };
        await accounts.setPassword(userId, request.new_password, logOut);
        return {};
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/account/deactivate",
      aliases: ["/_matrix/client/r0/account/deactivate"],
      access: "optional",
      rateLimit: "rc_login.address",
      body: object({
        auth: nullable(authData),
        id_server: nullable(string),
        erase: nullable(boolean),
      }),
      emptyBody: true,
      async handle({ caller, body: { auth, ...request } }) {
        const name = "POST /_matrix/client/v3/account/deactivate";
        const userId = await authenticate(caller, name, auth, request);
        await accounts.deactivate(userId, { erase: request.erase === true });
        // There is nothing to unbind: no account has an address.
        return { id_server_unbind_result: "success" };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/account/3pid",
      aliases: ["/_matrix/client/r0/account/3pid"],
      access: "user",
      async handle({ caller }) {
        refuseGuest(caller);
        return { threepids: [] };
      },
    }),
  ];
}
