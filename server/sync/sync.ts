/** `/sync`: https://spec.matrix.org/v1.19/client-server-api/#syncing */
import { LRUCache } from "lru-cache";
import { MatrixError } from "../../spec/errors.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import type { Database } from "../../storage/database.ts";
import * as storedStream from "../../storage/stream.ts";
import { type EphemeralStore, EphemeralUnavailable } from "../ephemeral/ephemeral.ts";
import { JsonWriter } from "../json-writer.ts";
import type { ActiveUser, Memberships, RoomMembership } from "../memberships/memberships.ts";
import { type Caller, Draining } from "../route.ts";
import type { Entry, Stream } from "../stream/stream.ts";
import type { Timeline } from "../timeline/timeline.ts";
import { Bells, Turnstile } from "./bells.ts";
import { LazyMembers } from "./lazy-members.ts";
import type {
  AccountData,
  AccountDatum,
  DeviceLists,
  Filters,
  KeyCounts,
  Presence,
  Receipts,
  SyncPresence,
  ToDevice,
  Typing,
  Unread,
} from "./ports.ts";
import { type PresenceEvent, presenceEvents } from "./presence-events.ts";
import { RoomSections } from "./room-sections.ts";
import type { SnapshotReads } from "./room-states.ts";
import { Summaries } from "./summaries.ts";
import { readFilter, type SyncFilter } from "./sync-filter.ts";
import { readSyncToken, type SyncToken, writeSyncToken } from "./sync-tokens.ts";
import { ToDeviceInbox } from "./to-device-inbox.ts";
import { TopicLog } from "./topic-log.ts";
import { openWindow, type Window } from "./window.ts";

export type * from "./ports.ts";

export interface SyncRequest {
  since?: string | undefined;
  /** JSON, or the ID of a stored filter. */
  filter?: string | undefined;
  isFullState?: boolean | undefined;
  setPresence?: SyncPresence | undefined;
  /** How long to wait for news, in ms; capped. */
  timeoutMs?: number | undefined;
  stateName?: "state" | "state_after" | "org.matrix.msc4222.state_after";
  /** Aborted when nobody waits for the answer, or the server drains: then it answers with what there is. */
  signal?: AbortSignal | undefined;
}

export interface SyncDeps {
  database: Pick<Database, "db">;
  stream: Stream;
  ephemeral: Pick<EphemeralStore, "position" | "subscribe">;
  memberships: Memberships;
  timeline: Timeline;
  states: SnapshotReads;
  filters: Filters;
  accountData: AccountData;
  receipts: Receipts;
  toDevice: ToDevice;
  deviceLists: DeviceLists;
  keyCounts: KeyCounts;
  unread: Unread;
  typing: Typing;
  /** Absent where presence is switched off. */
  presence?: Presence | undefined;
  /**
   * Asked when tokens or devices of a user changed while one of them waited.
   *
   * @throws MatrixError M_UNKNOWN_TOKEN, M_USER_LOCKED or the like where the caller may not go on
   */
  assertSession(caller: SyncCaller): Promise<void>;
  /** Is told of what failed beside an answer. */
  onError(error: unknown): void;
}

export type SyncCaller = Pick<Caller, "userId" | "deviceId" | "tokenId">;

export interface Sync extends Disposable {
  /**
   * Answers with what is new for a device, waiting for it where there is nothing.
   *
   * @returns the response body, as JSON
   * @throws MatrixError M_INVALID_PARAM for a token or filter that is none
   */
  sync(caller: SyncCaller, request: SyncRequest): Promise<Buffer>;
}

/** The longest that an answer is held back. */
const MAX_TIMEOUT_MS = 120_000;
/** Characters of filters that are kept compiled. */
const CACHED_FILTERS = 4 * 1024 * 1024;

export function createSync(deps: SyncDeps): Sync {
  return new SyncEngine(deps);
}

/** What one request comes to, once it is understood. */
interface Understood {
  user: ActiveUser;
  deviceId: string | undefined;
  since: SyncToken | undefined;
  sinceText: string | undefined;
  filter: SyncFilter;
  isFullState: boolean;
  stateName: NonNullable<SyncRequest["stateName"]>;
}

interface TypingNews {
  byRoom: ReadonlyMap<RoomId, readonly string[]>;
  isTold: boolean;
}

interface Answer {
  isEmpty: boolean;
  /** The point that it brings its reader to. */
  token: SyncToken;
  /** What was sent is remembered when this is called; once. */
  body(): Buffer;
}

class SyncEngine implements Sync {
  readonly #deps: SyncDeps;
  readonly #bells = new Bells();
  readonly #turnstile = new Turnstile();
  readonly #filters = new LRUCache<string, SyncFilter>({
    maxSize: CACHED_FILTERS,
    sizeCalculation: (_, key) => key.length + 1000,
  });
  readonly #lazyMembers = new LazyMembers();
  readonly #summaries: Summaries;
  readonly #rooms: RoomSections;
  readonly #inbox: ToDeviceInbox;
  readonly #unsubscribe: () => void;
  readonly #typing: TopicLog;
  readonly #presence: TopicLog | undefined;

  constructor(deps: SyncDeps) {
    this.#deps = deps;
    const { database, stream, states, timeline, receipts, unread, onError } = deps;
    this.#summaries = new Summaries(database, stream);
    this.#rooms = new RoomSections({
      database,
      states,
      timeline,
      summaries: this.#summaries,
      receipts,
      unread,
      turnstile: this.#turnstile,
    });
    this.#inbox = new ToDeviceInbox(deps.toDevice, stream);
    this.#unsubscribe = deps.deviceLists.subscribe((userId) => this.#bells.ring(userId));
    this.#typing = new TopicLog({
      store: deps.ephemeral,
      topic: "typing",
      onChange: (key) => this.#ringRoom(key),
      onError,
    });
    if (deps.presence !== undefined) {
      this.#presence = new TopicLog({
        store: deps.ephemeral,
        topic: "presence",
        onChange: (key) => this.#ringSharing(key),
        onError,
      });
    }
  }

  async sync(caller: SyncCaller, request: SyncRequest): Promise<Buffer> {
    const { userId, deviceId } = caller;
    const { signal } = request;
    let since = await this.#readSince(request.since, signal);
    const sinceText = since === undefined ? undefined : request.since;
    const filter = await this.#filter(userId, request.filter);
    await this.#notePresence(userId, deviceId, request.setPresence ?? "online");
    if (since !== undefined && deviceId !== undefined) {
      await this.#inbox.acknowledge(userId, deviceId, since.toDevice ?? since.position);
    }
    const { isFullState = false, stateName = "state" } = request;
    const patience = since === undefined || isFullState ? 0 : (request.timeoutMs ?? 0);
    const deadline = performance.now() + Math.min(patience, MAX_TIMEOUT_MS);
    // Nothing may come between this and the subscription, which keeps the user in memory.
    const user = await this.#deps.memberships.load(userId);
    using bell = this.#bells.hang(userId);
    let isSessionChanged = false;
    const unsubscribe = user.subscribe((entry) => {
      isSessionChanged ||= entry.kind === "session";
      if (concernsDevice(entry, deviceId)) bell.ring();
    });
    try {
      for (;;) {
        bell.reset();
        if (isSessionChanged) {
          isSessionChanged = false;
          await this.#deps.assertSession(caller);
        }
        const answer = await this.#answer({
          user,
          deviceId,
          since,
          sinceText,
          filter,
          isFullState,
          stateName,
        });
        const left = deadline - performance.now();
        if (signal?.aborted === true && !(signal.reason instanceof Draining)) throw signal.reason;
        if (!answer.isEmpty || left <= 0 || signal?.aborted === true) return answer.body();
        since = answer.token;
        if (await bell.wait(left, signal)) await this.#turnstile.pass();
      }
    } finally {
      unsubscribe();
    }
  }

  [Symbol.dispose](): void {
    this.#summaries[Symbol.dispose]();
    this.#inbox[Symbol.dispose]();
    this.#unsubscribe();
    this.#typing[Symbol.dispose]();
    this.#presence?.[Symbol.dispose]();
  }

  /**
   * Reads the token to continue from. One of another epoch, from before the stream was restored, tells
   * nothing: such a client gets everything.
   */
  async #readSince(
    text: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<SyncToken | undefined> {
    // Some clients send an empty token with their first request.
    if (text === undefined || text === "") return undefined;
    const token = readSyncToken(text);
    const { stream, database } = this.#deps;
    if (token.epoch !== stream.epoch) return undefined;
    if (token.position > stream.position) {
      // Another process may be ahead of this one.
      const head = await storedStream.head(database.db);
      if (token.position > head.position) {
        throw new MatrixError("M_INVALID_PARAM", "since: not a token of this server");
      }
      await stream.reached(token.position, signal);
    }
    return token;
  }

  async #filter(userId: UserId, text: string | undefined): Promise<SyncFilter> {
    const key = text === undefined ? "" : text.startsWith("{") ? text : `${userId}\0${text}`;
    const cached = this.#filters.get(key);
    if (cached !== undefined) return cached;
    const filter = await readFilter(this.#deps.filters, userId, text);
    this.#filters.set(key, filter);
    return filter;
  }

  async #notePresence(
    userId: UserId,
    deviceId: string | undefined,
    state: SyncPresence,
  ): Promise<void> {
    await this.#ephemerally(() => this.#deps.presence?.synced(userId, deviceId, state), undefined);
  }

  /** Everything that is new, up to the stream's present position. */
  async #answer(request: Understood): Promise<Answer> {
    const { user, deviceId, since, filter, isFullState } = request;
    const { stream } = this.#deps;
    // What follows up to the first await belongs together: it is the state of this moment.
    const upTo = stream.position;
    const { epoch } = stream;
    const typingMark = this.#typing.mark;
    const presenceMark = this.#presence?.mark ?? this.#typing.mark;
    const typingRooms = since && this.#typing.after(since.typing);
    const changedPresence = since && this.#presence?.after(since.presence);
    const memberships = new Map<RoomId, RoomMembership>(
      since === undefined || isFullState ? user.rooms : [],
    );
    for (const key of typingRooms ?? []) {
      const membership = user.rooms.get(key as RoomId);
      if (membership?.membership === "join") memberships.set(membership.roomId, membership);
    }
    const window =
      since === undefined ? undefined : await openWindow(user, since.position, upTo, this.#deps);
    for (const [roomId, membership] of window?.memberships ?? []) {
      memberships.set(roomId, membership);
    }

    const all = window === undefined ? await this.#allAccountData(user.userId) : undefined;
    const typing = await this.#typingIn(user, memberships, typingRooms, since !== undefined);
    const sent = this.#lazyMembers.open(user.userId, deviceId, request.sinceText);
    const out = new JsonWriter().add("{");
    const written = await this.#rooms.write(out, {
      user,
      viewer: { userId: user.userId, deviceId },
      filter,
      window,
      upTo,
      memberships,
      isFullState,
      stateName: request.stateName,
      sent,
      accountData: all?.byRoom ?? new Map(),
      typing: typing.byRoom,
    });
    const accountData = (all?.global ?? window?.accountData ?? []).filter(({ type }) =>
      filter.accountData.matches({ type }),
    );
    const presence = await this.#presenceEvents(user, filter, changedPresence);
    const device = await this.#deviceSections(user, deviceId, since, window, upTo);
    const token: SyncToken = {
      epoch,
      position: upTo,
      typing: typing.isTold ? typingMark : (since?.typing ?? typingMark),
      presence: presenceMark,
      toDevice: device.leftAt,
    };
    return {
      token,
      isEmpty:
        written.isEmpty && accountData.length === 0 && presence.length === 0 && device.isEmpty,
      body() {
        const nextBatch = writeSyncToken(token);
        sent.keep(nextBatch);
        out.add(',"account_data":{"events":');
        out.value(accountData.map(({ type, content }) => ({ type, content })));
        out.add('},"presence":{"events":').value(presence).add("}").add(device.text);
        return out.add(',"next_batch":').value(nextBatch).add("}").toBuffer();
      },
    };
  }

  async #allAccountData(
    userId: UserId,
  ): Promise<{ global: AccountDatum[]; byRoom: Map<RoomId, AccountDatum[]> }> {
    const global: AccountDatum[] = [];
    const byRoom = new Map<RoomId, AccountDatum[]>();
    for (const datum of await this.#deps.accountData.list(userId)) {
      const { roomId } = datum;
      if (roomId === undefined) global.push(datum);
      else byRoom.set(roomId, [...(byRoom.get(roomId) ?? []), datum]);
    }
    return { global, byRoom };
  }

  /**
   * Who types, in the rooms where that changed.
   *
   * @param changed undefined where it is not known: then it is told of all rooms in which anybody types
   */
  #typingIn(
    user: ActiveUser,
    memberships: Map<RoomId, RoomMembership>,
    changed: ReadonlySet<string> | undefined,
    isIncremental: boolean,
  ): Promise<TypingNews> {
    return this.#ephemerally<TypingNews>(
      async () => {
        const rooms = (changed ?? (await this.#deps.typing.rooms())) as Iterable<RoomId>;
        const joined = [...rooms].filter((roomId) => {
          const membership = memberships.get(roomId) ?? user.rooms.get(roomId);
          return membership?.membership === "join";
        });
        if (joined.length === 0) return { byRoom: new Map(), isTold: true };
        for (const roomId of isIncremental ? joined : []) {
          const membership = user.rooms.get(roomId);
          if (!memberships.has(roomId) && membership !== undefined) {
            memberships.set(roomId, membership);
          }
        }
        const found = await this.#deps.typing.list(joined);
        const byRoom = new Map(joined.map((roomId) => [roomId, found.get(roomId) ?? []]));
        return { byRoom, isTold: true };
      },
      { byRoom: new Map(), isTold: false },
    );
  }

  async #presenceEvents(
    user: ActiveUser,
    filter: SyncFilter,
    changed: ReadonlySet<string> | undefined,
  ): Promise<PresenceEvent[]> {
    const { presence, memberships } = this.#deps;
    if (presence === undefined || changed?.size === 0) return [];
    const users = changed as ReadonlySet<UserId> | undefined;
    return this.#ephemerally(
      () => presenceEvents(presence, memberships, user, users, filter.presence),
      [],
    );
  }

  /** Messages to the device, whose devices changed, and the device's own stock of keys. */
  async #deviceSections(
    user: ActiveUser,
    deviceId: string | undefined,
    since: SyncToken | undefined,
    window: Window | undefined,
    upTo: number,
  ): Promise<{ text: string; isEmpty: boolean; leftAt: number | undefined }> {
    let text = "";
    let isEmpty = true;
    let leftAt: number | undefined;
    if (window !== undefined) {
      const range = { after: window.since, upTo };
      const { changed, left } = await this.#deps.deviceLists.changes(user.userId, range);
      if (changed.length > 0 || left.length > 0) isEmpty = false;
      text += `,"device_lists":${JSON.stringify({ changed, left })}`;
    }
    if (deviceId === undefined) return { text, isEmpty, leftAt };
    let messages: string[] = [];
    if (
      since === undefined ||
      since.toDevice !== undefined ||
      window?.hasToDevice(deviceId) === true
    ) {
      const after = since === undefined ? 0 : (since.toDevice ?? since.position);
      ({ messages, leftAt } = await this.#inbox.list(user.userId, deviceId, { after, upTo }));
    }
    const counts = await this.#deps.keyCounts.of(user.userId, deviceId);
    if (messages.length > 0 || window?.hasNewKeyCounts(deviceId) === true) isEmpty = false;
    text += `,"to_device":{"events":[${messages.join(",")}]}`;
    text += `,"device_one_time_keys_count":${JSON.stringify(counts.oneTimeKeys)}`;
    text += `,"device_unused_fallback_key_types":${JSON.stringify(counts.unusedFallbackKeys)}`;
    return { text, isEmpty, leftAt };
  }

  /** Does without the ephemeral store where it cannot be reached. */
  async #ephemerally<T>(read: () => Promise<T> | undefined, fallback: T): Promise<T> {
    try {
      return (await read()) ?? fallback;
    } catch (error) {
      if (!(error instanceof EphemeralUnavailable)) throw error;
      return fallback;
    }
  }

  #ringRoom(roomId: string | undefined): void {
    if (roomId === undefined) {
      for (const userId of this.#bells.users()) this.#bells.ring(userId);
      return;
    }
    for (const user of this.#deps.memberships.joinedIn(roomId as RoomId)) {
      this.#bells.ring(user.userId);
    }
  }

  #ringSharing(userId: string | undefined): void {
    const { memberships, onError } = this.#deps;
    if (userId === undefined) {
      this.#ringRoom(undefined);
      return;
    }
    memberships.load(userId as UserId).then((user) => {
      for (const other of memberships.sharing(user)) this.#bells.ring(other.userId);
    }, onError);
  }
}

/** Whether an entry of a user's log may change an answer to one of the user's devices. */
function concernsDevice({ kind, deviceId }: Entry, device: string | undefined): boolean {
  switch (kind) {
    case "to_device":
    case "one_time_keys":
      return deviceId === device;
    case "profile":
    case "forget":
      return false;
    default:
      return true;
  }
}
