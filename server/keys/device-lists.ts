/**
 * Whose keys a user's clients should fetch anew, and whose they may forget:
 * https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
 *
 * Users hear of those with whom they share a room, encrypted or not: a room may become encrypted, and
 * clients then rely on what they know. Only the crowds of rooms that are not encrypted are left out when
 * a user comes to such a room or leaves it.
 */
import type { UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as crossSigning from "../../storage/cross-signing.ts";
import * as deviceLists from "../../storage/device-lists.ts";
import {
  type ActiveUser,
  memberOf,
  type Memberships,
  membershipOf,
} from "../memberships/memberships.ts";
import type { Entry, Stream } from "../stream/stream.ts";

export interface DeviceListChanges {
  changed: UserId[];
  left: UserId[];
}

/**
 * What a `device_list` entry carries where it is for its user alone: whose keys that user has signed,
 * with a signature that nobody else sees.
 */
export interface DeviceListData {
  signed?: UserId[];
}

export interface DeviceListsOptions {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "position" | "subscribe">;
  memberships: Pick<Memberships, "load" | "find" | "sharing" | "shareRoom">;
  onError(error: unknown): void;
  /** Changes that are kept in memory. */
  keptEntries?: number;
}

/** Members from which on a room that is not encrypted is a crowd. */
const CROWD = 500;

export class DeviceLists implements Disposable {
  readonly #options: DeviceListsOptions;
  readonly #kept: number;
  readonly #listeners = new Set<(userId: UserId) => void>();
  readonly #unsubscribe: () => void;
  /** All entries of kind `device_list` after a position, oldest first. */
  #entries: Entry[] = [];
  #start: number;

  constructor(options: DeviceListsOptions) {
    this.#options = options;
    this.#kept = options.keptEntries ?? 20_000;
    this.#start = options.stream.position;
    this.#unsubscribe = options.stream.subscribe((entries) => {
      for (const entry of entries) if (entry.kind === "device_list") this.#add(entry);
    });
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  /**
   * Hears of active users for whom {@link changes} has news because another user's keys changed.
   *
   * @returns ends the subscription
   */
  subscribe(listener: (userId: UserId) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** For what happened in `(after, upTo]`. It may tell more than that, and never less. */
  async changes(
    userId: UserId,
    range: { after: number; upTo: number },
  ): Promise<DeviceListChanges> {
    const { memberships, database } = this.#options;
    const { after, upTo } = range;
    const user = await memberships.load(userId);
    const entries = user.after(after);
    const [keys, moves] = await Promise.all([
      this.#changedKeys(userId, after, upTo),
      entries === undefined
        ? deviceLists.listComersAndGoers(database.db, userId, after, CROWD)
        : this.#moves(user, entries, after, upTo),
    ]);
    const candidates = new Set([...keys.changed, ...moves.came, ...moves.went]);
    candidates.delete(userId);
    const sharing = await this.#sharing(user, candidates);
    const changed = new Set([...moves.came, ...keys.changed].filter((id) => sharing.has(id)));
    if (keys.changed.has(userId)) changed.add(userId);
    for (const signed of keys.signed) changed.add(signed);
    return {
      changed: [...changed],
      left: [...new Set(moves.went)].filter((id) => !sharing.has(id)),
    };
  }

  /** Whose keys changed, and whose keys the user signed. */
  async #changedKeys(
    userId: UserId,
    after: number,
    upTo: number,
  ): Promise<{ changed: Set<UserId>; signed: Set<UserId> }> {
    const { db } = this.#options.database;
    if (after < this.#start) {
      const [changed, signed] = await Promise.all([
        deviceLists.listChanged(db, userId, after),
        crossSigning.listSignedUsers(db, userId, after),
      ]);
      return { changed: new Set(changed), signed: new Set(signed) };
    }
    const changed = new Set<UserId>();
    const signed = new Set<UserId>();
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i];
      if (entry?.userId === undefined || entry.position <= after) break;
      if (entry.position > upTo) continue;
      const own = signedOf(entry);
      if (own === undefined) changed.add(entry.userId);
      else if (entry.userId === userId) for (const other of own) signed.add(other);
    }
    return { changed, signed };
  }

  /** Who came and went, from the entries that concern a user. */
  async #moves(
    user: ActiveUser,
    entries: readonly Entry[],
    after: number,
    upTo: number,
  ): Promise<{ came: UserId[]; went: UserId[] }> {
    const { database, memberships } = this.#options;
    const came: UserId[] = [];
    const went: UserId[] = [];
    const unsure: { roomNid: number; userId: UserId }[] = [];
    for (const entry of entries) {
      if (entry.kind !== "event" || entry.position > upTo) continue;
      const member = memberOf(entry);
      const { subject, roomId } = entry;
      if (member === undefined || subject === undefined || roomId === undefined) continue;
      const membership = membershipOf(subject);
      if (member === user.userId) {
        // Where the user moved, the members of rooms count, which are not in memory.
        const own = user.rooms.get(roomId);
        if (membership === "invite" || membership === "knock") continue;
        if (own === undefined || own.since > after) {
          return deviceLists.listComersAndGoers(database.db, user.userId, after, CROWD);
        }
      } else if (membership === "leave" || membership === "ban") {
        went.push(member);
      } else if (membership === "join") {
        const theirs = memberships.find(member)?.rooms.get(roomId);
        if (theirs === undefined) unsure.push({ roomNid: subject.roomNid, userId: member });
        // A new profile only is no reason to fetch keys.
        else if (theirs.since > after) came.push(member);
      }
    }
    came.push(...(await deviceLists.listNewlyJoined(database.db, unsure, after)));
    return { came, went };
  }

  /** Those of some users who share a room with a user. */
  async #sharing(user: ActiveUser, candidates: ReadonlySet<UserId>): Promise<Set<UserId>> {
    const { memberships, database } = this.#options;
    const sharing = new Set<UserId>();
    const unknown: UserId[] = [];
    for (const candidate of candidates) {
      const other = memberships.find(candidate);
      if (other === undefined) unknown.push(candidate);
      else if (memberships.shareRoom(user, other)) sharing.add(candidate);
    }
    for (const id of await deviceLists.listSharing(database.db, user.userId, unknown)) {
      sharing.add(id);
    }
    return sharing;
  }

  #add(entry: Entry): void {
    this.#entries.push(entry);
    if (this.#entries.length > this.#kept * 1.25) {
      const dropped = this.#entries.length - this.#kept;
      this.#start = this.#entries[dropped - 1]?.position ?? this.#start;
      this.#entries = this.#entries.slice(dropped);
    }
    if (this.#listeners.size > 0) this.#tell(entry).catch(this.#options.onError);
  }

  async #tell(entry: Entry): Promise<void> {
    const { userId } = entry;
    if (userId === undefined) return;
    const { memberships } = this.#options;
    const told: Iterable<{ userId: UserId }> =
      signedOf(entry) === undefined
        ? memberships.sharing(await memberships.load(userId))
        : [{ userId }];
    for (const user of told) for (const listener of this.#listeners) listener(user.userId);
  }
}

function signedOf(entry: Entry): UserId[] | undefined {
  // Written by this folder only.
  return (entry.data as DeviceListData | undefined)?.signed;
}
