/** Send-to-device messaging: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging */
import { type Route, route } from "../server/route.ts";
import type { ToDevice } from "../server/to-device/to-device.ts";
import { userId } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import { anyObject, map, object } from "../spec/shape.ts";

/** Clients send room keys to hundreds of devices at once. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;

export function sendToDevice(toDevice: Pick<ToDevice, "send">): Route[] {
  return [
    route({
      method: "PUT",
      path: "/_matrix/client/v3/sendToDevice/:eventType/:txnId",
      aliases: [
        "/_matrix/client/r0/sendToDevice/:eventType/:txnId",
        "/_matrix/client/unstable/sendToDevice/:eventType/:txnId",
      ],
      access: "user",
      maxBodyBytes: MAX_BODY_BYTES,
      params: object({ eventType: plainText(), txnId: plainText() }),
      body: object({ messages: map(userId, map(plainText(), anyObject)) }),
      async handle({ caller, params, body }) {
        await toDevice.send(caller, {
          type: params.eventType,
          txnId: params.txnId,
          messages: body.messages,
        });
        return {};
      },
    }),
  ];
}
