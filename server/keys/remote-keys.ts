/** The keys of users of other servers, as `federation` gets them. */
import { MatrixError } from "../../spec/errors.ts";
import { type ServerName, serverNameOf, type UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";

/** What a server says of its users' keys; each member by user ID. */
export interface QueriedKeys {
  deviceKeys: Map<UserId, JsonObject>;
  masterKeys: Map<UserId, JsonObject>;
  selfSigningKeys: Map<UserId, JsonObject>;
}

export interface RemoteKeys {
  /**
   * @param users device IDs by user; none for all
   * @throws when the server cannot be reached or gives no good answer
   */
  query(
    server: ServerName,
    users: ReadonlyMap<UserId, readonly string[]>,
    timeoutMs: number,
  ): Promise<QueriedKeys>;
  /**
   * @param devices the wanted algorithm by user and device
   * @returns by user, an object of devices
   */
  claim(
    server: ServerName,
    devices: ReadonlyMap<UserId, ReadonlyMap<string, string>>,
    timeoutMs: number,
  ): Promise<Map<UserId, JsonObject>>;
}

/** For a server that does not federate. */
export const noRemoteKeys: RemoteKeys = {
  query: () => Promise.reject(notFederating()),
  claim: () => Promise.reject(notFederating()),
};

function notFederating(): MatrixError {
  return new MatrixError("M_UNKNOWN", "This server does not reach other servers");
}

/** Failures by server, as clients see them. */
export type Failures = Map<ServerName, JsonObject>;

/**
 * Asks several servers at once, each for its own users.
 *
 * @returns the answers of those that gave one; the others are put among the failures
 */
export async function askServers<Wanted, Answer>(
  users: ReadonlyMap<UserId, Wanted>,
  ask: (server: ServerName, users: ReadonlyMap<UserId, Wanted>) => Promise<Answer>,
  failures: Failures,
): Promise<{ answer: Answer; users: ReadonlyMap<UserId, Wanted> }[]> {
  const byServer = new Map<ServerName, Map<UserId, Wanted>>();
  for (const [userId, wanted] of users) {
    const server = serverNameOf(userId);
    let own = byServer.get(server);
    if (own === undefined) byServer.set(server, (own = new Map()));
    own.set(userId, wanted);
  }
  const answers = await Promise.all(
    [...byServer].map(async ([server, own]) => {
      try {
        return { answer: await ask(server, own), users: own };
      } catch (error) {
        const known =
          error instanceof MatrixError
            ? error
            : new MatrixError("M_UNKNOWN", "The server could not be reached");
        failures.set(server, known.toJSON());
        return undefined;
      }
    }),
  );
  return answers.filter((answer) => answer !== undefined);
}

/** Time in ms that other servers get to answer, of what a client asks for. */
export function timeoutOf(askedMs: number | undefined): number {
  return Math.min(askedMs ?? DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS);
}

const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_TIMEOUT_MS = 60_000;
