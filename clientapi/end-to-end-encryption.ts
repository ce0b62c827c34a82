/** Keys of devices: https://spec.matrix.org/v1.19/client-server-api/#key-management-api */
import { type Keys, MAX_ONE_TIME_KEYS, timeoutOf } from "../server/keys/keys.ts";
import { type Route, route } from "../server/route.ts";
import { deviceKeys, oneTimeKeys } from "../spec/encryption-keys.ts";
import { userId } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import { array, integer, map, object, optional, text, withDefault } from "../spec/shape.ts";

/** Bytes of a full upload, and of a request that names the devices of a very large room. */
const MAX_UPLOAD_BYTES = 512 * 1024;
const MAX_REQUEST_BYTES = 1024 * 1024;
const MAX_DEVICES = 1000;

const keys = withDefault(oneTimeKeys({ max: MAX_ONE_TIME_KEYS }), []);
const timeout = optional(integer({ min: 0 }));
const syncToken = text({ maxBytes: 255 });

export function endToEndEncryption({
  keys: engine,
  readPosition,
}: {
  keys: Pick<Keys, "upload" | "query" | "claim" | "changes">;
  /** The stream position of a token of `/sync`; 0 for a token of before the stream was restored. */
  readPosition(token: string): number;
}): Route[] {
  return [
    route({
      method: "POST",
      path: "/_matrix/client/v3/keys/upload",
      aliases: ["/_matrix/client/r0/keys/upload", "/_matrix/client/unstable/keys/upload"],
      access: "user",
      maxBodyBytes: MAX_UPLOAD_BYTES,
      body: object({
        device_keys: optional(deviceKeys),
        one_time_keys: keys,
        fallback_keys: keys,
      }),
      async handle({ caller, body }) {
        const counts = await engine.upload(caller, {
          deviceKeys: body.device_keys,
          oneTimeKeys: body.one_time_keys,
          fallbackKeys: body.fallback_keys,
        });
        return { one_time_key_counts: counts };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/keys/query",
      aliases: ["/_matrix/client/r0/keys/query", "/_matrix/client/unstable/keys/query"],
      access: "user",
      rateLimit: "rc_key_requests",
      maxBodyBytes: MAX_REQUEST_BYTES,
      body: object({
        device_keys: map(userId, array(plainText(), { max: MAX_DEVICES })),
        timeout,
      }),
      async handle({ caller, body }) {
        const answer = await engine.query(caller.userId, {
          users: body.device_keys,
          timeoutMs: timeoutOf(body.timeout),
        });
        return {
          failures: Object.fromEntries(answer.failures),
          device_keys: Object.fromEntries(answer.deviceKeys),
          master_keys: Object.fromEntries(answer.masterKeys),
          self_signing_keys: Object.fromEntries(answer.selfSigningKeys),
          user_signing_keys: Object.fromEntries(answer.userSigningKeys),
        };
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/keys/claim",
      aliases: ["/_matrix/client/r0/keys/claim", "/_matrix/client/unstable/keys/claim"],
      access: "user",
      rateLimit: "rc_key_requests",
      maxBodyBytes: MAX_REQUEST_BYTES,
      body: object({ one_time_keys: map(userId, map(plainText(), plainText())), timeout }),
      async handle({ body }) {
        const answer = await engine.claim({
          devices: body.one_time_keys,
          timeoutMs: timeoutOf(body.timeout),
        });
        return {
          failures: Object.fromEntries(answer.failures),
          one_time_keys: Object.fromEntries(answer.oneTimeKeys),
        };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/keys/changes",
      aliases: ["/_matrix/client/r0/keys/changes", "/_matrix/client/unstable/keys/changes"],
      access: "user",
      query: object({ from: syncToken, to: syncToken }),
      async handle({ caller, query }) {
        // Everything up to now is told, which is what `to` asks for or more.
        readPosition(query.to);
        const { changed, left } = await engine.changes(caller.userId, readPosition(query.from));
        return { changed, left };
      },
    }),
  ];
}
