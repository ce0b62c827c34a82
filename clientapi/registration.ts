/** Registration: https://spec.matrix.org/v1.19/client-server-api/#legacy-account-registration */
import {
  authData,
  type Registration,
  type RegistrationTokens,
  type SharedSecretRegistration,
} from "../server/accounts/accounts.ts";
import { type Route, route } from "../server/route.ts";
import { serverNameOf } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import { boolean, nullable, object, oneOf, string, withDefault } from "../spec/shape.ts";

/** What a client calls a device. */
const displayName = plainText({ minBytes: 0 });

export function registration(deps: {
  registration: Registration;
  registrationTokens: Pick<RegistrationTokens, "isUsable">;
  sharedSecretRegistration: SharedSecretRegistration;
}): Route[] {
  const { registration, registrationTokens, sharedSecretRegistration } = deps;
  return [
    route({
      method: "POST",
      path: "/_matrix/client/v3/register",
      aliases: ["/_matrix/client/r0/register"],
      access: "public",
      query: object({ kind: withDefault(oneOf("user", "guest"), "user") }),
      body: object({
        auth: nullable(authData),
        username: nullable(string),
        password: nullable(string),
        device_id: nullable(plainText()),
        initial_device_display_name: nullable(displayName),
        inhibit_login: nullable(boolean),
        refresh_token: nullable(boolean),
        guest_access_token: nullable(string),
      }),
      async handle({ query, body, clientAddress, userAgent }) {
        const request = { body, clientAddress, userAgent };
        return query.kind === "guest"
          ? registration.registerGuest(request)
          : registration.register(request);
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/register/available",
      aliases: ["/_matrix/client/r0/register/available"],
      access: "public",
      query: object({ username: string }),
      async handle({ query, clientAddress }) {
        await registration.probe(query.username, clientAddress);
        return { available: true };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v1/register/m.login.registration_token/validity",
      access: "public",
      rateLimit: "rc_registration_token_validity",
      query: object({ token: string }),
      async handle({ query }) {
        registration.refuseIfDisabled();
        return { valid: await registrationTokens.isUsable(query.token) };
      },
    }),
    route({
      method: "GET",
      path: "/_synapse/admin/v1/register",
      access: "public",
      async handle() {
        return { nonce: sharedSecretRegistration.createNonce() };
      },
    }),
    route({
      method: "POST",
      path: "/_synapse/admin/v1/register",
      access: "public",
      body: object({
        nonce: string,
        username: string,
        password: string,
        displayname: nullable(plainText({ minBytes: 0, maxBytes: 256 })),
        admin: withDefault(boolean, false),
        user_type: nullable(string),
        mac: string,
      }),
      async handle({ body, clientAddress, userAgent }) {
        const loggedIn = await sharedSecretRegistration.register(body, {
          clientAddress,
          userAgent,
        });
        return { ...loggedIn, home_server: serverNameOf(loggedIn.user_id) };
      },
    }),
  ];
}
