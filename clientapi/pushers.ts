/** Pushers: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers */
import type { Pushers } from "../server/pushers/pushers.ts";
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { plainText } from "../spec/plain-text.ts";
import { anyObject, boolean, json, object, optional, withDefault } from "../spec/shape.ts";

const MAX_BODY_BYTES = 32 * 1024;

const name = plainText({ minBytes: 0, maxBytes: 1024 });
const key = { app_id: plainText({ maxBytes: 64 }), pushkey: plainText({ maxBytes: 512 }) };
const removal = object(key);
const pusher = object({
  ...key,
  kind: name,
  app_display_name: name,
  device_display_name: name,
  profile_tag: optional(name),
  lang: name,
  data: anyObject,
  append: withDefault(boolean, false),
});

export function pushers(pushers: Pick<Pushers, "list" | "set" | "remove">): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/pushers",
      aliases: ["/_matrix/client/r0/pushers"],
      access: "user",
      async handle({ caller }) {
        const found = await pushers.list(caller.userId);
        return {
          pushers: found.map((each) => ({
            app_display_name: each.app_display_name,
            app_id: each.app_id,
            data: each.data,
            device_display_name: each.device_display_name,
            kind: each.kind,
            lang: each.lang,
            ...(each.profile_tag === null ? {} : { profile_tag: each.profile_tag }),
            pushkey: each.pushkey,
          })),
        };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/pushers/set",
      aliases: ["/_matrix/client/r0/pushers/set"],
      access: "user",
      body: json,
      maxBodyBytes: MAX_BODY_BYTES,
      async handle({ caller, body }) {
        const { kind } = anyObject.read(body, "body");
        if (kind === undefined) throw new MatrixError("M_MISSING_PARAM", "body.kind is missing");
        if (kind === null) {
          const { app_id: appId, pushkey } = removal.read(body, "body");
          await pushers.remove(caller.userId, appId, pushkey);
          return {};
        }
        const read = pusher.read(body, "body");
        await pushers.set(caller, {
          appId: read.app_id,
          pushkey: read.pushkey,
          kind: read.kind,
          appDisplayName: read.app_display_name,
          deviceDisplayName: read.device_display_name,
          profileTag: read.profile_tag,
          lang: read.lang,
          data: read.data,
          isAppended: read.append,
        });
        return {};
      },
    }),
  ];
}
