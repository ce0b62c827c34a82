/**
 * User-Interactive Authentication:
 * https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
 *
 * A session is for one method and path, one user and one request, and is good once. Of the request
 * itself no secret is stored: a MAC, keyed with the session's ID, tells whether it is the same.
 */
import { createHmac } from "node:crypto";
import { canonicalJson } from "../../spec/canonical-json.ts";
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import { anyObject, type JsonObject, refine, type Shape, string } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import * as uiaSessions from "../../storage/uia-sessions.ts";
import type { UiaSession } from "../../storage/uia-sessions.ts";
import type { Caller } from "../route.ts";
import { isSameSecret, sha256 } from "../secrets.ts";
import type { Random } from "./tokens.ts";

/** What a client sends as `auth`. */
export interface AuthData extends JsonObject {
  type?: string;
  session?: string;
}

/** One kind of proof. */
export interface StageCheck {
  /** What a client must know to attempt it. */
  params?(): JsonObject;
  /**
   * Judges an attempt.
   *
   * @returns what it proved, which the operation may ask for
   * @throws MatrixError for an attempt that failed; the client may try again
   */
  attempt(auth: AuthData, context: StageContext): Promise<JsonObject>;
}

export interface StageContext {
  /** The user whom the operation acts for; undefined where nobody is logged in. */
  userId: UserId | undefined;
}

export const STAGES = [
  "m.login.dummy",
  "m.login.password",
  "m.login.registration_token",
  "m.login.terms",
] as const;
export type Stage = (typeof STAGES)[number];

export interface Operation {
  /** The method and path, such as `DELETE /_matrix/client/v3/devices/ABC`. */
  name: string;
  caller: Pick<Caller, "userId"> | undefined;
  auth: AuthData | undefined;
  /** The body without `auth`. */
  request: JsonObject;
  /** Ways to authenticate, each with its stages in order. */
  flows: readonly (readonly Stage[])[];
  /**
   * What of the request must be known to finish it, without secrets; for clients that repeat only
   * `auth`. Called once a session, with the first request that says anything.
   */
  keep?(): Promise<JsonObject>;
  /** Called before a session is made and after each failure: counts against a limit. */
  limit?(): Promise<void>;
}

export interface Authenticated {
  /** What each stage proved. */
  proofs: Readonly<Partial<Record<Stage, JsonObject>>>;
  /** What `keep` gave. */
  kept: JsonObject | undefined;
}

export interface InteractiveAuthOptions {
  database: Pick<Database, "db">;
  stages: Readonly<Record<Stage, StageCheck>>;
  clock: () => number;
  random: Random;
}

/** Time in ms that a user has for all stages. */
const LIFETIME_MS = 3_600_000;
const SESSION_BYTES = 32;
/** Most sessions that a user who is logged in has under way. */
const MAX_SESSIONS = 50;
/** Errors that say that an attempt failed, and not that it made no sense. */
const MAY_TRY_AGAIN: ReadonlySet<string> = new Set(["M_FORBIDDEN", "M_UNAUTHORIZED"]);

/** What a client sends as `auth`; each stage reads what else it needs. */
export const authData: Shape<AuthData> = refine(anyObject, (value, place) => {
  for (const key of ["type", "session"] as const) {
    if (value[key] !== undefined) string.read(value[key], `${place}.${key}`);
  }
  return value;
});

export class InteractiveAuth {
  readonly #options: InteractiveAuthOptions;

  constructor(options: InteractiveAuthOptions) {
    this.#options = options;
  }

  /**
   * Resolves when a user has authenticated for an operation, which then may go on, once.
   *
   * @throws AuthenticationRequired with what is still to do, M_FORBIDDEN for a session of another
   *   operation, user or request
   */
  async require(operation: Operation): Promise<Authenticated> {
    const { auth } = operation;
    const opened = await this.#open(operation);
    const { id } = opened;
    let { session } = opened;
    let failure: MatrixError | undefined;
    if (opened.hasExpired) {
      failure = new MatrixError("M_FORBIDDEN", "The authentication session has expired");
    } else if (auth?.type !== undefined) {
      try {
        session = await this.#attempt(session, auth);
      } catch (error) {
        if (!(error instanceof MatrixError) || !MAY_TRY_AGAIN.has(error.errcode)) throw error;
        await operation.limit?.();
        failure = error;
      }
    }
    if (failure === undefined && isComplete(session)) {
      const isFirst = await this.#options.database.db
        .transaction()
        .execute((tx) => uiaSessions.remove(tx, session.session_hash));
      if (isFirst) return { proofs: session.completed, kept: session.kept ?? undefined };
      throw new MatrixError("M_FORBIDDEN", "The authentication session was used already");
    }
    throw this.#required(id, session, failure);
  }

  /** Finds the session of a request or makes one, and binds it to the request. */
  async #open(
    operation: Operation,
  ): Promise<{ id: string; session: UiaSession; hasExpired: boolean }> {
    const { database, clock, random } = this.#options;
    const given = operation.auth?.session;
    if (given !== undefined) {
      const session = await uiaSessions.find(database.db, sha256(given), clock());
      if (session !== undefined) {
        return {
          id: given,
          session: await this.#bind(given, session, operation),
          hasExpired: false,
        };
      }
    }
    await operation.limit?.();
    const id = random(SESSION_BYTES).toString("base64url");
    const session: UiaSession = {
      session_hash: sha256(id),
      operation: operation.name,
      user_id: operation.caller?.userId ?? null,
      flows: operation.flows,
      ...(await bindingOf(operation, id)),
      completed: {},
      expires_ts: clock() + LIFETIME_MS,
    };
    await database.db.transaction().execute(async (tx) => {
      await uiaSessions.put(tx, session);
      if (session.user_id !== null) {
        await uiaSessions.removeOldest(tx, session.user_id, MAX_SESSIONS);
      }
    });
    return { id, session, hasExpired: given !== undefined };
  }

  /**
   * Holds a session to its operation, user and request. One that began with an empty request is bound
   * to the first that says something: clients ask for the flows before they know what the user wants.
   */
  async #bind(id: string, session: UiaSession, operation: Operation): Promise<UiaSession> {
    const { database, clock } = this.#options;
    const userId = operation.caller?.userId ?? null;
    if (session.operation !== operation.name || session.user_id !== userId) {
      throw new MatrixError("M_FORBIDDEN", "The authentication session is for something else");
    }
    const mac = isEmpty(operation.request) ? undefined : macOf(operation.request, id);
    let bound = session;
    if (mac !== undefined && session.request_mac === null) {
      const binding = await bindingOf(operation, id);
      bound = await database.db.transaction().execute(async (tx) => {
        const current = await uiaSessions.lock(tx, session.session_hash, clock());
        if (current === undefined) throw hasEnded();
        if (current.request_mac !== null) return current;
        const next = { ...current, ...binding };
        await uiaSessions.put(tx, next);
        return next;
      });
    }
    const isSame =
      mac === undefined
        ? bound.request_mac === null || bound.kept !== null
        : bound.request_mac !== null && isSameSecret(bound.request_mac, mac);
    if (isSame) return bound;
    throw new MatrixError("M_FORBIDDEN", "The request changed during its authentication");
  }

  /** Attempts a stage and notes that it is done. */
  async #attempt(session: UiaSession, auth: AuthData): Promise<UiaSession> {
    const { database, clock, stages } = this.#options;
    const done = Object.keys(session.completed);
    const stage = session.flows
      .filter((flow) => done.every((name, i) => flow[i] === name))
      .map((flow) => flow[done.length])
      .find((name) => name === auth.type);
    if (stage === undefined) {
      // What is done cannot be done again, and needs not be.
      if (auth.type !== undefined && done.includes(auth.type)) return session;
      throw new MatrixError("M_FORBIDDEN", "That stage is not what comes next");
    }
    const proof = await stages[stage as Stage].attempt(auth, {
      userId: session.user_id ?? undefined,
    });
    return database.db.transaction().execute(async (tx) => {
      const current = await uiaSessions.lock(tx, session.session_hash, clock());
      if (current === undefined) throw hasEnded();
      if (Object.keys(current.completed).length !== done.length) return current;
      const next = { ...current, completed: { ...current.completed, [stage]: proof } };
      await uiaSessions.put(tx, next);
      return next;
    });
  }

  /** What a session is for; undefined where there is none, or not any more. */
  async find(id: string): Promise<{ userId: UserId | undefined; stages: Stage[] } | undefined> {
    const { database, clock } = this.#options;
    const session = await uiaSessions.find(database.db, sha256(id), clock());
    return (
      session && {
        userId: session.user_id ?? undefined,
        stages: [...new Set(session.flows.flat())] as Stage[],
      }
    );
  }

  /**
   * Attempts a stage outside the request that it is for, which then goes on by itself:
   * https://spec.matrix.org/v1.19/client-server-api/#fallback
   *
   * @throws MatrixError for an attempt that failed, M_NOT_FOUND where there is no such session
   */
  async attemptApart(id: string, auth: AuthData & { type: Stage }): Promise<void> {
    const { database, clock } = this.#options;
    const session = await uiaSessions.find(database.db, sha256(id), clock());
    if (session === undefined) throw new MatrixError("M_NOT_FOUND", "There is no such session");
    await this.#attempt(session, auth);
  }

  /** The policy documents that a user has to agree to. */
  params(stage: Stage): JsonObject | undefined {
    return this.#options.stages[stage].params?.();
  }

  #required(
    id: string,
    session: UiaSession,
    failure: MatrixError | undefined,
  ): AuthenticationRequired {
    const params: JsonObject = {};
    for (const stage of new Set(session.flows.flat())) {
      const wanted = this.#options.stages[stage as Stage].params?.();
      if (wanted !== undefined) params[stage] = wanted;
    }
    return new AuthenticationRequired(
      {
        session: id,
        flows: session.flows.map((stages) => ({ stages })),
        params,
        completed: Object.keys(session.completed),
      },
      failure,
    );
  }
}

/** Status 401 with what is to be done; with an error code only where an attempt failed. */
export class AuthenticationRequired extends MatrixError {
  readonly #failure: MatrixError | undefined;

  constructor(fields: JsonObject, failure: MatrixError | undefined) {
    const { errcode = "M_UNAUTHORIZED", message = "Authentication is required" } = failure ?? {};
    super(errcode, message, { status: 401, fields, cause: failure });
    this.#failure = failure;
  }

  override toJSON(): Record<string, unknown> {
    return this.#failure === undefined ? { ...this.fields } : super.toJSON();
  }
}

function isComplete({ flows, completed }: UiaSession): boolean {
  const done = Object.keys(completed);
  return flows.some((flow) => flow.length === done.length && flow.every((s, i) => done[i] === s));
}

function isEmpty(request: JsonObject): boolean {
  return Object.keys(request).length === 0;
}

/** What binds a session to its request. */
async function bindingOf(
  operation: Operation,
  id: string,
): Promise<Pick<UiaSession, "request_mac" | "kept">> {
  const { request } = operation;
  if (isEmpty(request)) return { request_mac: null, kept: null };
  return { request_mac: macOf(request, id), kept: (await operation.keep?.()) ?? null };
}

function hasEnded(): MatrixError {
  return new MatrixError("M_FORBIDDEN", "The authentication session has ended");
}

function macOf(request: JsonObject, id: string): Buffer {
  return createHmac("sha256", id)
    .update(canonicalJson(request, { numbers: "lossless" }))
    .digest();
}
