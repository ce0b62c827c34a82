/** Login, refresh, logout and whoami: https://spec.matrix.org/v1.19/client-server-api/#legacy-login */
import {
  authData,
  type Devices,
  identifier,
  identifierOf,
  type InteractiveAuth,
  type LoggedIn,
  type LoginRequest,
  type Logins,
  refuseGuest,
  type Sessions,
} from "../server/accounts/accounts.ts";
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { plainText } from "../spec/plain-text.ts";
import {
  boolean,
  type JsonObject,
  nullable,
  object,
  optional,
  type Shape,
  type Shaped,
  string,
} from "../spec/shape.ts";

export interface SessionManagementDeps {
  logins: Logins;
  sessions: Pick<Sessions, "refresh" | "logOut">;
  devices: Pick<Devices, "remove">;
  interactiveAuth: Pick<InteractiveAuth, "require">;
  /** Told to clients that log in, so that they find the server again. */
  wellKnown: JsonObject | undefined;
}

type LoginProof =
  | ({ type: "m.login.password" } & Shaped<typeof passwordLogin>)
  | ({ type: "m.login.token" } & Shaped<typeof tokenLogin>)
  | { type: "m.login.application_service" };

const passwordLogin = object({
  identifier: optional(identifier),
  user: optional(string),
  medium: optional(string),
  address: optional(string),
  password: string,
});
const tokenLogin = object({ token: string });
const loginFields = object({
  device_id: nullable(plainText()),
  initial_device_display_name: nullable(plainText({ minBytes: 0 })),
  refresh_token: nullable(boolean),
});

const loginBody: Shape<{ proof: LoginProof; fields: Shaped<typeof loginFields> }> = {
  read(value, place) {
    const { type } = object({ type: string }).read(value, place);
    const fields = loginFields.read(value, place);
    switch (type) {
      case "m.login.password":
        return { proof: { type, ...passwordLogin.read(value, place) }, fields };
      case "m.login.token":
        return { proof: { type, ...tokenLogin.read(value, place) }, fields };
      case "m.login.application_service":
        return { proof: { type }, fields };
      default:
        throw new MatrixError("M_UNKNOWN", "Unknown login type", { status: 400 });
    }
  },
};

export function sessionManagement(deps: SessionManagementDeps): Route[] {
  const { logins, sessions, devices, interactiveAuth, wellKnown } = deps;

  async function logIn(proof: LoginProof, request: LoginRequest): Promise<LoggedIn> {
    if (proof.type === "m.login.token") return logins.withToken(proof.token, request);
    if (proof.type === "m.login.application_service") {
      throw new MatrixError("M_FORBIDDEN", "The access token is of no application service");
    }
    const isAddress = proof.medium !== undefined && proof.address !== undefined;
    const who =
      isAddress && proof.identifier === undefined
        ? { type: "m.id.thirdparty" as const }
        : identifierOf(proof, "body");
    return logins.withPassword(who, proof.password, request);
  }

  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/login",
      aliases: ["/_matrix/client/r0/login"],
      access: "public",
      async handle() {
        const flows: JsonObject[] = [{ type: "m.login.token", get_login_token: true }];
        if (logins.passwordsEnabled) flows.unshift({ type: "m.login.password" });
        return { flows };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/login",
      aliases: ["/_matrix/client/r0/login"],
      access: "public",
      rateLimit: "rc_login.address",
      body: loginBody,
      async handle({ body: { proof, fields }, clientAddress, userAgent }) {
        const loggedIn = await logIn(proof, {
          deviceId: fields.device_id,
          displayName: fields.initial_device_display_name,
          wantsRefreshToken: fields.refresh_token,
          clientAddress,
          userAgent,
        });
        return wellKnown === undefined ? loggedIn : { ...loggedIn, well_known: wellKnown };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v1/login/get_token",
      access: "user",
      rateLimit: "rc_login.address",
      body: object({ auth: nullable(authData) }),
      emptyBody: true,
      async handle({ caller, body }) {
        refuseGuest(caller);
        await interactiveAuth.require({
          name: "POST /_matrix/client/v1/login/get_token",
          caller,
          auth: body.auth,
          request: {},
          flows: [["m.login.password"]],
        });
        return logins.createToken(caller.userId);
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/refresh",
      aliases: ["/_matrix/client/v1/refresh"],
      access: "public",
      body: object({ refresh_token: string }),
      async handle({ body }) {
        return sessions.refresh(body.refresh_token);
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/logout",
      aliases: ["/_matrix/client/r0/logout"],
      access: "user-even-locked",
      async handle({ caller }) {
        await sessions.logOut(caller);
        return {};
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/logout/all",
      aliases: ["/_matrix/client/r0/logout/all"],
      access: "user-even-locked",
      async handle({ caller }) {
        await devices.remove(caller.userId, { allBut: undefined });
        return {};
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/account/whoami",
      aliases: ["/_matrix/client/r0/account/whoami"],
      access: "user",
      async handle({ caller }) {
        return {
          user_id: caller.userId,
          ...(caller.deviceId === undefined ? {} : { device_id: caller.deviceId }),
          is_guest: caller.isGuest,
        };
      },
    }),
  ];
}
