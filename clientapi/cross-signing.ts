/** Cross-signing: https://spec.matrix.org/v1.19/client-server-api/#cross-signing */
import {
  type AuthData,
  authData,
  type InteractiveAuth,
  refuseGuest,
} from "../server/accounts/accounts.ts";
import type { Keys } from "../server/keys/keys.ts";
import { type Route, route } from "../server/route.ts";
import { crossSigningKey } from "../spec/encryption-keys.ts";
import { MatrixError } from "../spec/errors.ts";
import { userId } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import {
  anyObject,
  type JsonObject,
  map,
  nullable,
  object,
  optional,
  type Shape,
  type Shaped,
} from "../spec/shape.ts";

const UPLOAD = "/_matrix/client/v3/keys/device_signing/upload";
const MAX_SIGNATURES_BYTES = 1024 * 1024;
/** Keys that one request may sign. */
const MAX_SIGNED_KEYS = 1000;

const uploadedKeys = object({
  master_key: optional(crossSigningKey("master")),
  self_signing_key: optional(crossSigningKey("self_signing")),
  user_signing_key: optional(crossSigningKey("user_signing")),
});

interface UploadBody {
  keys: Shaped<typeof uploadedKeys>;
  auth: AuthData | undefined;
  /** The body but for `auth`, as the client wrote it. */
  request: JsonObject;
}

const uploadBody: Shape<UploadBody> = {
  read(value, place) {
    const { auth, ...request } = anyObject.read(value, place);
    return {
      keys: uploadedKeys.read(request, place),
      auth: nullable(authData).read(auth, `${place}.auth`),
      request,
    };
  },
};

export function crossSigning({
  keys: engine,
  interactiveAuth,
}: {
  keys: Pick<Keys, "uploadCrossSigningKeys" | "uploadSignatures">;
  interactiveAuth: Pick<InteractiveAuth, "require">;
}): Route[] {
  return [
    route({
      method: "POST",
      path: UPLOAD,
      aliases: ["/_matrix/client/unstable/keys/device_signing/upload"],
      access: "user",
      body: uploadBody,
      async handle({ caller, body: { auth, request, keys } }) {
        refuseGuest(caller);
        const authenticate = () =>
          interactiveAuth.require({
            name: `POST ${UPLOAD}`,
            caller,
            auth,
            request,
            flows: [["m.login.password"]],
            keep: () => Promise.resolve(request),
          });
        let upload = keys;
        let isAuthenticated = caller.appserviceId !== undefined;
        if (auth !== undefined && Object.keys(request).length === 0) {
          // The keys came with the first request of the session.
          const { kept } = await authenticate();
          upload = uploadedKeys.read(kept ?? {}, "body");
          isAuthenticated = true;
        }
        await engine.uploadCrossSigningKeys(
          caller.userId,
          {
            master: upload.master_key,
            self_signing: upload.self_signing_key,
            user_signing: upload.user_signing_key,
          },
          async () => {
            if (!isAuthenticated) await authenticate();
          },
        );
        return {};
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/client/v3/keys/signatures/upload",
      aliases: ["/_matrix/client/unstable/keys/signatures/upload"],
      access: "user",
      maxBodyBytes: MAX_SIGNATURES_BYTES,
      body: map(userId, map(plainText(), anyObject)),
      async handle({ caller, body }) {
        let count = 0;
        for (const keys of body.values()) count += keys.size;
        if (count > MAX_SIGNED_KEYS) {
          throw new MatrixError("M_TOO_LARGE", `more than ${MAX_SIGNED_KEYS} keys are signed`);
        }
        const failures = await engine.uploadSignatures(caller.userId, body);
        return {
          failures: Object.fromEntries(
            [...failures].map(([owner, failed]) => [owner, Object.fromEntries(failed)]),
          ),
        };
      },
    }),
  ];
}
