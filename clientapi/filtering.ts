/** Filters: https://spec.matrix.org/v1.19/client-server-api/#filtering */
import type { Filters } from "../server/account-data/account-data.ts";
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { filter } from "../spec/filters.ts";
import { userId } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import { anyObject, object, refine } from "../spec/shape.ts";
import { refuseOthers } from "./own-user.ts";

/** Kept as it was uploaded, with keys that we do not know, once it has the right shape. */
const definition = refine(anyObject, (value, place) => {
  filter.read(value, place);
  return value;
});

export function filtering(filters: Filters): Route[] {
  return [
    route({
      method: "POST",
      path: "/_matrix/client/v3/user/:userId/filter",
      aliases: ["/_matrix/client/r0/user/:userId/filter"],
      access: "user",
      params: object({ userId }),
      body: definition,
      async handle({ caller, params, body }) {
        refuseOthers(caller, params.userId);
        return { filter_id: await filters.add(params.userId, body) };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/user/:userId/filter/:filterId",
      aliases: ["/_matrix/client/r0/user/:userId/filter/:filterId"],
      access: "user",
      params: object({ userId, filterId: plainText() }),
      async handle({ caller, params }) {
        refuseOthers(caller, params.userId);
        const found = await filters.find(params.userId, params.filterId);
        if (found === undefined) throw new MatrixError("M_NOT_FOUND", "No such filter");
        return found;
      },
    }),
  ];
}
