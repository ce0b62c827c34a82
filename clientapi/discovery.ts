/** What a client must know before it logs in: https://spec.matrix.org/v1.19/client-server-api/#server-discovery */
import { type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import type { JsonObject } from "../spec/shape.ts";

export interface DiscoverySettings {
  /** The address by which clients reach the server. */
  publicBaseUrl: string;
  /** Further members of `/.well-known/matrix/client`. */
  extraClientContent: JsonObject;
  support: {
    page: string | undefined;
    contacts: readonly {
      role: string;
      matrix_id: string | undefined;
      email_address: string | undefined;
    }[];
  };
}

/** Versions of the specification in the sense that clients ask for: what came with them works here. */
const VERSIONS = [
  "r0.0.1",
  "r0.1.0",
  "r0.2.0",
  "r0.3.0",
  "r0.4.0",
  "r0.5.0",
  "r0.6.0",
  "r0.6.1",
  ...Array.from({ length: 12 }, (_, i) => `v1.${i + 1}`),
];

/** What clients look for by the number of its proposal, though it has long been specified. */
const UNSTABLE_FEATURES = {
  "org.matrix.e2e_cross_signing": true,
  "org.matrix.msc2285.stable": true,
  "org.matrix.msc3440.stable": true,
  "org.matrix.msc3771": true,
  "org.matrix.msc3773": true,
  "org.matrix.msc3882": true,
  "org.matrix.msc3916.stable": true,
  "org.matrix.msc3981": true,
  "uk.tcpip.msc4133": true,
  "uk.tcpip.msc4133.stable": true,
};

export function discovery(settings: DiscoverySettings): Route[] {
  const { support } = settings;
  return [
    route({
      method: "GET",
      path: "/_matrix/client/versions",
      access: "public",
      isProbe: true,
      async handle() {
        return { versions: VERSIONS, unstable_features: UNSTABLE_FEATURES };
      },
    }),
    route({
      method: "GET",
      path: "/.well-known/matrix/client",
      access: "public",
      async handle() {
        return wellKnownClient(settings);
      },
    }),
    route({
      method: "GET",
      path: "/.well-known/matrix/support",
      access: "public",
      async handle() {
        const contacts = support.contacts.filter(
          ({ matrix_id, email_address }) => (matrix_id ?? email_address) !== undefined,
        );
        if (contacts.length === 0 && support.page === undefined) {
          throw new MatrixError("M_NOT_FOUND", "No support information");
        }
        return {
          ...(contacts.length === 0 ? {} : { contacts }),
          ...(support.page === undefined ? {} : { support_page: support.page }),
        };
      },
    }),
  ];
}

/** What leads a client from a domain to its server; also part of the answer to a login. */
export function wellKnownClient(
  settings: Pick<DiscoverySettings, "publicBaseUrl" | "extraClientContent">,
): JsonObject {
  return {
    ...settings.extraClientContent,
    "m.homeserver": { base_url: settings.publicBaseUrl },
  };
}
