/** Profiles: https://spec.matrix.org/v1.19/client-server-api/#profiles */
import type { Profiles } from "../server/profiles/profiles.ts";
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { userId } from "../spec/identifiers.ts";
import { anyObject, object, string } from "../spec/shape.ts";

const field = object({ userId, keyName: string });
const PATH = "/_matrix/client/v3/profile/:userId/:keyName";
const ALIASES = [
  "/_matrix/client/r0/profile/:userId/:keyName",
  "/_matrix/client/unstable/uk.tcpip.msc4133/profile/:userId/:keyName",
];
/** More than a whole profile may have, so that too large a one is told by its own error. */
const MAX_BODY_BYTES = 256 * 1024;

export function profiles(profiles: Profiles): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/profile/:userId",
      aliases: [
        "/_matrix/client/r0/profile/:userId",
        "/_matrix/client/unstable/uk.tcpip.msc4133/profile/:userId",
      ],
      access: "public",
      params: object({ userId }),
      async handle({ params }) {
        return profiles.get(params.userId);
      },
    }),
    route({
      method: "GET",
      path: PATH,
      aliases: ALIASES,
      access: "public",
      params: field,
      async handle({ params }) {
        return profiles.getField(params.userId, params.keyName);
      },
    }),
    route({
      method: "PUT",
      path: PATH,
      aliases: ALIASES,
      access: "user",
      params: field,
      body: anyObject,
      maxBodyBytes: MAX_BODY_BYTES,
      async handle({ caller, params, body }) {
        const { keyName } = params;
        if (!Object.hasOwn(body, keyName)) {
          throw new MatrixError("M_MISSING_PARAM", `body.${keyName.slice(0, 255)} is missing`);
        }
        await profiles.set(caller, params.userId, keyName, body[keyName]);
        return {};
      },
    }),
    route({
      method: "DELETE",
      path: PATH,
      aliases: ALIASES,
      access: "user",
      params: field,
      async handle({ caller, params }) {
        await profiles.remove(caller, params.userId, params.keyName);
        return {};
      },
    }),
  ];
}
