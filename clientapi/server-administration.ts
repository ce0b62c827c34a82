/** Server administration: https://spec.matrix.org/v1.19/client-server-api/#server-administration */
import type { Accounts, Devices } from "../server/accounts/accounts.ts";
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { userId } from "../spec/identifiers.ts";
import { boolean, type JsonObject, object } from "../spec/shape.ts";

const params = object({ userId });

export function serverAdministration({
  accounts,
  devices,
}: {
  accounts: Accounts;
  devices: Pick<Devices, "list">;
}): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/admin/whois/:userId",
      aliases: ["/_matrix/client/r0/admin/whois/:userId"],
      access: "user",
      params,
      async handle({ caller, params }) {
        if (caller.userId !== params.userId && !caller.isAdmin) {
          throw new MatrixError("M_FORBIDDEN", "You are not a server admin");
        }
        await accounts.getModerated(params.userId);
        const described: JsonObject = Object.create(null);
        for (const device of await devices.list(params.userId)) {
          const { device_id, last_seen_ip, last_seen_ts, last_seen_user_agent } = device;
          const connections =
            last_seen_ip === null
              ? []
              : [
                  {
                    ip: last_seen_ip,
                    last_seen: last_seen_ts ?? undefined,
                    user_agent: last_seen_user_agent ?? undefined,
                  },
                ];
          described[device_id] = { sessions: [{ connections }] };
        }
        return { user_id: params.userId, devices: described };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v1/admin/suspend/:userId",
      access: "admin",
      params,
      async handle({ caller, params }) {
        const account = await accounts.getModerated(params.userId, caller.userId);
        return { suspended: account.is_suspended };
      },
    }),
    route({
      method: "PUT",
      path: "/_matrix/client/v1/admin/suspend/:userId",
      access: "admin",
      params,
      body: object({ suspended: boolean }),
      async handle({ caller, params, body: { suspended } }) {
        await accounts.moderate(caller.userId, params.userId, { is_suspended: suspended });
        return { suspended };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v1/admin/lock/:userId",
      access: "admin",
      params,
      async handle({ caller, params }) {
        const account = await accounts.getModerated(params.userId, caller.userId);
        return { locked: account.is_locked };
      },
    }),
    route({
      method: "PUT",
      path: "/_matrix/client/v1/admin/lock/:userId",
      access: "admin",
      params,
      body: object({ locked: boolean }),
      async handle({ caller, params, body: { locked } }) {
        await accounts.moderate(caller.userId, params.userId, { is_locked: locked });
        return { locked };
      },
    }),
  ];
}
