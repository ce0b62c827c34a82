/** Profiles: https://spec.matrix.org/v1.19/client-server-api/#profiles */
import { setTimeout as sleep } from "node:timers/promises";
import { MatrixError } from "../../spec/errors.ts";
import { parseMxc, serverNameOf, type UserId } from "../../spec/identifiers.ts";
import { badJson, invalidParam, type JsonObject } from "../../spec/shape.ts";
import * as accounts from "../../storage/accounts.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as profiles from "../../storage/profiles.ts";
import type { Names } from "../../storage/profiles.ts";
import { refuseGuest, refuseSuspended } from "../accounts/accounts.ts";
import { repeat } from "../repeating.ts";
import type { Caller } from "../route.ts";
import type { Stream } from "../stream/stream.ts";

export interface ProfilesOptions {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append">;
  isLocal(serverName: string): boolean;
  rooms: ProfileRooms;
  /** Fields that only administrators change. */
  managedFields: readonly string[];
  /** Is told of member events that could not be sent; it is tried again. */
  onError(error: unknown): void;
}

/** What profiles need of rooms. */
export interface ProfileRooms {
  /** Sends new member events into all rooms that a user is joined to. */
  updateMemberProfiles(userId: UserId, names: Names): Promise<void>;
}

const MAX_KEY_BYTES = 255;
const MAX_PROFILE_BYTES = 64 * 1024;
const MAX_DISPLAYNAME_CHARS = 256;
const MAX_AVATAR_URL_CHARS = 1000;
/** Fields that have a meaning without a dot in their name. */
const PLAIN_FIELDS: ReadonlySet<string> = new Set(["displayname", "avatar_url"]);
/** https://spec.matrix.org/v1.19/appendices/#common-namespaced-identifier-grammar */
const NAMESPACED = /^[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)+$/;
/** Time in ms that an answer waits for member events: somebody may be in thousands of rooms. */
const PATIENCE_MS = 3_000;
/** Times in ms until interrupted updates are looked for, and between. */
const FIRST_RESUME_MS = 30_000;
const RESUME_MS = 3_600_000;

export class Profiles implements AsyncDisposable {
  readonly #options: ProfilesOptions;
  /** Member events under way, by user: a later change waits for an earlier one. */
  readonly #updates = new Map<UserId, Promise<void>>();

  readonly #resuming: AsyncDisposable;

  constructor(options: ProfilesOptions) {
    this.#options = options;
    this.#resuming = repeat(() => this.resumeUpdates(), {
      firstMs: FIRST_RESUME_MS,
      everyMs: RESUME_MS,
      onError: options.onError,
    });
  }

  /** @throws MatrixError M_NOT_FOUND where there is no such user of ours */
  async get(userId: UserId): Promise<JsonObject> {
    const { db } = this.#options.database;
    const isOurs = this.#options.isLocal(serverNameOf(userId));
    if (!isOurs || (await accounts.find(db, userId)) === undefined) throw notFound();
    return Object.fromEntries(await profiles.list(db, userId));
  }

  /** @throws MatrixError M_NOT_FOUND also where the field is not set */
  async getField(userId: UserId, field: string): Promise<JsonObject> {
    const profile = await this.get(userId);
    if (!Object.hasOwn(profile, field)) throw notFound();
    return { [field]: profile[field] };
  }

  /**
   * Sets a field; an empty display name or avatar removes it, as clients expect.
   *
   * @throws MatrixError M_FORBIDDEN, M_USER_SUSPENDED, M_GUEST_ACCESS_FORBIDDEN, M_KEY_TOO_LARGE,
   *   M_INVALID_PARAM, M_BAD_JSON, M_PROFILE_TOO_LARGE
   */
  async set(caller: Caller, userId: UserId, field: string, value: unknown): Promise<void> {
    this.#check(caller, userId, field);
    checkValue(field, value);
    if (value === "" && PLAIN_FIELDS.has(field)) return this.#change(userId, field, undefined);
    return this.#change(userId, field, { value });
  }

  /** @throws MatrixError M_FORBIDDEN, M_USER_SUSPENDED, M_GUEST_ACCESS_FORBIDDEN, M_INVALID_PARAM */
  async remove(caller: Caller, userId: UserId, field: string): Promise<void> {
    this.#check(caller, userId, field);
    return this.#change(userId, field, undefined);
  }

  #check(caller: Caller, userId: UserId, field: string): void {
    checkField(field);
    if (caller.userId !== userId) {
      throw new MatrixError("M_FORBIDDEN", "The profile is another user's");
    }
    refuseSuspended(caller);
    if (field !== "displayname") refuseGuest(caller);
    if (this.#options.managedFields.includes(field) && !caller.isAdmin) {
      throw new MatrixError("M_FORBIDDEN", "This field cannot be changed on this server");
    }
  }

  async #change(
    userId: UserId,
    field: string,
    change: { value: unknown } | undefined,
  ): Promise<void> {
    const { database, stream } = this.#options;
    const before = await profiles.list(database.db, userId);
    const isSame =
      change === undefined
        ? !before.has(field)
        : before.has(field) && JSON.stringify(before.get(field)) === JSON.stringify(change.value);
    if (isSame) return;
    const { positions } = await stream.append({
      entries: [{ kind: "profile", userId, data: { field } }],
      write: async (tx, [position = 0]) => {
        if (change === undefined) await profiles.remove(tx, userId, field);
        else await putWithin(tx, userId, field, change.value, position);
        if (PLAIN_FIELDS.has(field)) await profiles.putUpdate(tx, { user_id: userId, position });
      },
    });
    if (PLAIN_FIELDS.has(field)) {
      const sent = this.#sendMemberEvents(userId, positions[0] ?? 0);
      await Promise.race([sent, sleep(PATIENCE_MS, undefined, { ref: false })]);
    }
  }

  /** Sends the member events that an interruption left out. */
  async resumeUpdates(): Promise<void> {
    for (const { user_id, position } of await profiles.listUpdates(this.#options.database.db)) {
      await this.#sendMemberEvents(user_id, position);
    }
  }

  /** @param position of the change; what is sent is what the profile says then or later */
  #sendMemberEvents(userId: UserId, position: number): Promise<void> {
    const { database, rooms, onError } = this.#options;
    const update = (this.#updates.get(userId) ?? Promise.resolve())
      .then(async () => {
        const names = await profiles.listNames(database.db, [userId]);
        await rooms.updateMemberProfiles(userId, names.get(userId) ?? {});
        await database.db
          .transaction()
          .execute((tx) => profiles.removeUpdate(tx, { user_id: userId, position }));
      })
      .catch(onError)
      .finally(() => {
        if (this.#updates.get(userId) === update) this.#updates.delete(userId);
      });
    this.#updates.set(userId, update);
    return update;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resuming[Symbol.asyncDispose]();
    await Promise.all(this.#updates.values());
  }
}

/** Two changes at once must not make a profile too large together: the account's row is held. */
async function putWithin(
  tx: Tx,
  userId: UserId,
  field: string,
  value: unknown,
  position: number,
): Promise<void> {
  await accounts.lock(tx, userId);
  const others = await profiles.sizeWithout(tx, userId, field);
  const own = Buffer.byteLength(JSON.stringify({ [field]: value }));
  if (others + own >= MAX_PROFILE_BYTES) {
    throw new MatrixError("M_PROFILE_TOO_LARGE", `a profile is below ${MAX_PROFILE_BYTES} bytes`);
  }
  await profiles.put(tx, { user_id: userId, field, value, position });
}

function checkField(field: string): void {
  if (Buffer.byteLength(field) > MAX_KEY_BYTES) {
    throw new MatrixError("M_KEY_TOO_LARGE", `a field's name has at most ${MAX_KEY_BYTES} bytes`);
  }
  if (!PLAIN_FIELDS.has(field) && !NAMESPACED.test(field)) {
    throw invalidParam("path.keyName", "not a name of a profile field");
  }
}

function checkValue(field: string, value: unknown): void {
  const place = `body.${field}`;
  if (field !== "displayname" && field !== "avatar_url" && field !== "m.tz") return;
  if (typeof value !== "string") throw badJson(place, "a string");
  const max = field === "avatar_url" ? MAX_AVATAR_URL_CHARS : MAX_DISPLAYNAME_CHARS;
  if (value.length > max) throw invalidParam(place, `longer than ${max} characters`);
  if (field === "avatar_url" && value !== "" && parseMxc(value) === undefined) {
    throw invalidParam(place, "not an mxc:// URI");
  }
}

function notFound(): MatrixError {
  return new MatrixError("M_NOT_FOUND", "Profile not found");
}
