/** Devices: https://spec.matrix.org/v1.19/client-server-api/#device-management */
import {
  type AuthData,
  authData,
  type Device,
  type Devices,
  type InteractiveAuth,
  refuseGuest,
} from "../server/accounts/accounts.ts";
import { type Caller, type Route, route } from "../server/route.ts";
import { plainText } from "../spec/plain-text.ts";
import { array, type JsonObject, nullable, object } from "../spec/shape.ts";

const PATH = "/_matrix/client/v3/devices/:deviceId";
const R0 = ["/_matrix/client/r0/devices/:deviceId"];
const MAX_DEVICES = 10_000;

const params = object({ deviceId: plainText() });

export function deviceManagement({
  devices,
  interactiveAuth,
}: {
  devices: Devices;
  interactiveAuth: Pick<InteractiveAuth, "require">;
}): Route[] {
  async function authenticate(
    caller: Caller,
    name: string,
    auth: AuthData | undefined,
    request: JsonObject,
  ): Promise<void> {
    refuseGuest(caller);
    await interactiveAuth.require({ name, caller, auth, request, flows: [["m.login.password"]] });
  }

  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/devices",
      aliases: ["/_matrix/client/r0/devices"],
      access: "user",
      async handle({ caller }) {
        return { devices: (await devices.list(caller.userId)).map(describe) };
      },
    }),
    route({
      method: "GET",
      path: PATH,
      aliases: R0,
      access: "user",
      params,
      async handle({ caller, params }) {
        return describe(await devices.get(caller.userId, params.deviceId));
      },
    }),
    route({
      method: "PUT",
      path: PATH,
      aliases: R0,
      access: "user",
      params,
      body: object({ display_name: nullable(plainText({ minBytes: 0 })) }),
      emptyBody: true,
      async handle({ caller, params, body }) {
        if (body.display_name === undefined) await devices.get(caller.userId, params.deviceId);
        else await devices.rename(caller.userId, params.deviceId, body.display_name);
        return {};
      },
    }),
    route({
      method: "DELETE",
      path: PATH,
      aliases: R0,
      access: "user",
      params,
      body: object({ auth: nullable(authData) }),
      emptyBody: true,
      async handle({ caller, params, body }) {
        const name = `DELETE /_matrix/client/v3/devices/${params.deviceId}`;
        await authenticate(caller, name, body.auth, {});
        await devices.remove(caller.userId, [params.deviceId]);
        return {};
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/delete_devices",
      aliases: ["/_matrix/client/r0/delete_devices"],
      access: "user",
      body: object({ auth: nullable(authData), devices: array(plainText(), { max: MAX_DEVICES }) }),
      async handle({ caller, body: { auth, ...request } }) {
        await authenticate(caller, "POST /_matrix/client/v3/delete_devices", auth, request);
        await devices.remove(caller.userId, request.devices);
        return {};
      },
    }),
  ];
}

function describe(device: Device): JsonObject {
  const { device_id, display_name, last_seen_ip, last_seen_ts } = device;
  return {
    device_id,
    ...(display_name === null ? {} : { display_name }),
    ...(last_seen_ip === null ? {} : { last_seen_ip }),
    ...(last_seen_ts === null ? {} : { last_seen_ts }),
  };
}
