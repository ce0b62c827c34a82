/** The stages of User-Interactive Authentication: https://spec.matrix.org/v1.19/client-server-api/#authentication-types */
import { MatrixError } from "../../spec/errors.ts";
import { type JsonObject, object, optional, type Shape, string } from "../../spec/shape.ts";
import type { Credentials, Identifier } from "./credentials.ts";
import type { Stage, StageCheck } from "./interactive-auth.ts";
import type { RegistrationTokens } from "./registration-tokens.ts";

/** One language of a policy document, as the configuration has it. */
export interface PolicyDocument {
  id: string;
  version: string;
  language: string;
  name: string;
  url: string;
}

/** https://spec.matrix.org/v1.19/client-server-api/#identifier-types */
export const identifier: Shape<Identifier> = {
  read(value, place) {
    const { type } = object({ type: optional(string) }).read(value, place);
    // Old clients leave the type of an address out.
    if (type === undefined) {
      object({ medium: string, address: string }).read(value, place);
      return { type: "m.id.thirdparty" };
    }
    if (type === "m.id.user") {
      return { type, user: object({ user: string }).read(value, place).user };
    }
    if (type === "m.id.thirdparty") {
      object({ medium: string, address: string }).read(value, place);
      return { type };
    }
    if (type === "m.id.phone") {
      object({ country: string, phone: string }).read(value, place);
      return { type };
    }
    throw new MatrixError("M_UNKNOWN", `${place}.type: unknown`, { status: 400 });
  },
};

const passwordAttempt = object({
  identifier: optional(identifier),
  user: optional(string),
  password: string,
});
const tokenAttempt = object({ token: string });

export function createStages(options: {
  credentials: Credentials;
  registrationTokens: Pick<RegistrationTokens, "isUsable">;
  policies: readonly PolicyDocument[];
}): Record<Stage, StageCheck> {
  const { credentials, registrationTokens, policies } = options;
  return {
    "m.login.dummy": {
      attempt: async () => ({}),
    },
    "m.login.password": {
      async attempt(auth, { userId }) {
        const { password, ...who } = passwordAttempt.read(auth, "body.auth");
        const account = await credentials.check(identifierOf(who, "body.auth"), password);
        if (userId !== undefined && account.user_id !== userId) {
          throw new MatrixError("M_FORBIDDEN", "Invalid username or password");
        }
        return { user_id: account.user_id };
      },
    },
    "m.login.registration_token": {
      async attempt(auth) {
        const { token } = tokenAttempt.read(auth, "body.auth");
        if (!(await registrationTokens.isUsable(token))) {
          throw new MatrixError("M_UNAUTHORIZED", "Invalid registration token");
        }
        return { token };
      },
    },
    "m.login.terms": {
      params: () => ({ policies: describe(policies) }),
      attempt: async () => ({
        policies: Object.fromEntries(policies.map(({ id, version }) => [id, version])),
      }),
    },
  };
}

/** Who somebody says they are, also where only the old `user` says it. */
export function identifierOf(
  who: { identifier?: Identifier | undefined; user?: string | undefined },
  place: string,
): Identifier {
  if (who.identifier !== undefined) return who.identifier;
  if (who.user !== undefined) return { type: "m.id.user", user: who.user };
  throw new MatrixError("M_MISSING_PARAM", `${place}.identifier is missing`);
}

/** Documents by ID and language: https://spec.matrix.org/v1.19/client-server-api/#terms-of-service-at-registration */
function describe(policies: readonly PolicyDocument[]): JsonObject {
  const described: Record<string, JsonObject> = {};
  for (const { id, version, language, name, url } of policies) {
    described[id] = { ...described[id], version, [language]: { name, url } };
  }
  return described;
}
