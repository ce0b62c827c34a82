/**
 * Events as a client gets them: https://spec.matrix.org/v1.19/client-server-api/#room-event-format
 *
 * All that is the same for every reader is written once, as bytes that all answers share. What
 * depends on the reader is the end of `unsigned`. Nothing of a PDU's own `unsigned` is ever shown.
 */
import {
  clientFormat,
  readStoredEvent,
  redactEvent,
  type RoomEvent,
} from "../../spec/event-format.ts";
import type { EventId, UserId } from "../../spec/identifiers.ts";
import { type RoomVersion, roomVersions } from "../../spec/room-versions.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { StoredEvent } from "../../storage/events.ts";
import type { Membership } from "../../storage/rooms.ts";
import { JsonWriter } from "../json-writer.ts";
import { placeKey, type StateStore } from "../rooms/rooms.ts";
import type { HeldEvents } from "./held-events.ts";
import type { TransactionIds } from "./transaction-ids.ts";
import type { Visibility, VisibleEvent } from "./visibility.ts";

/** Who reads. */
export interface Viewer {
  userId: UserId;
  /** Absent for a reader without a device: no transaction IDs are shown. */
  deviceId?: string | undefined;
}

/** What bundled aggregations say of an event: what the viewer may see of its child events. */
export interface Bundle {
  /** The newest valid `m.replace`. */
  replacement?: StoredEvent;
  thread?: {
    latest: StoredEvent;
    /** Aggregations of the latest event itself. */
    latestBundle?: Bundle | undefined;
    count: number;
    hasParticipated: boolean;
  };
  /** Events with an `m.reference`. */
  references?: readonly EventId[];
}

/**
 * Bundled aggregations: https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events
 *
 * It gives only what the viewer may see, and nothing for state events and redacted replacements.
 */
export interface Bundles {
  bundle(events: readonly StoredEvent[], viewer: Viewer): Promise<ReadonlyMap<EventId, Bundle>>;
}

export interface RenderOptions {
  viewer: Viewer;
  /** Whether events name their room: everywhere but in `/sync`. */
  hasRoomId?: boolean;
  /** Whether state events say what they replaced; lists of current state leave it out. */
  hasPrevious?: boolean;
  /** Whether bundled aggregations are included. */
  hasBundles?: boolean;
  /** `client`, the default, or `federation`: the PDU as servers exchange it. */
  format?: "client" | "federation";
  /** Takes a member of the event away, as a filter's `event_fields` do. */
  prune?: ((event: JsonObject) => JsonObject) | undefined;
}

export interface ClientEventsDeps {
  states: Pick<StateStore, "lookup">;
  held: Pick<HeldEvents, "list" | "listByIds" | "shared">;
  visibility: Pick<Visibility, "visibleTo">;
  transactionIds: Pick<TransactionIds, "of">;
  bundles: Bundles;
  clock: () => number;
  /** Is told of an event that cannot be read; it is shown without content. */
  onError(error: unknown): void;
}

/** The shared part of an event, for the redaction that it was written with. */
interface Base {
  redactedBy: EventId | undefined;
  bytes: Buffer;
}

/** What an event needs, beside its shared part, for one viewer. */
interface Extras {
  previous: ReadonlyMap<EventId, { event: StoredEvent; isVisible: boolean }>;
  transactionIds: ReadonlyMap<EventId, string>;
  bundles: ReadonlyMap<EventId, Bundle>;
  /** The child events that the bundles show. */
  children: ReadonlyMap<EventId, StoredEvent>;
  now: number;
}

/** One event, as one answer shows it. */
interface Shown {
  membership: Membership | undefined;
  bundle: Bundle | undefined;
  hasRoomId: boolean;
}

export class ClientEvents {
  readonly #deps: ClientEventsDeps;
  readonly #bases = new WeakMap<StoredEvent, Base>();
  /** What a state event replaced; null for nothing. */
  readonly #previous = new WeakMap<StoredEvent, StoredEvent | null>();

  constructor(deps: ClientEventsDeps) {
    this.#deps = deps;
  }

  /**
   * The events as JSON, each the bytes of one object, in the order given.
   *
   * It does not ask who may see them: give it what {@link Visibility} let through.
   *
   * @param seen events, with the viewer's membership where it is to be shown
   */
  async render(
    seen: readonly (StoredEvent | VisibleEvent)[],
    options: RenderOptions,
  ): Promise<Buffer[]> {
    const { held } = this.#deps;
    const items = seen.map((item) =>
      "event" in item
        ? { event: held.shared(item.event), membership: item.membership }
        : { event: held.shared(item), membership: undefined },
    );
    const extras = await this.#prepare(
      items.map(({ event }) => event),
      options,
    );
    const { format, prune, hasRoomId = true } = options;
    return items.map(({ event, membership }) => {
      const bundle = extras.bundles.get(event.eventId);
      const bytes = (): Buffer => this.#write(event, extras, { membership, bundle, hasRoomId });
      if (format === "federation") {
        const pdu = federationFormat(event);
        return Buffer.from(JSON.stringify(prune?.(pdu) ?? pdu));
      }
      if (prune === undefined) return bytes();
      return Buffer.from(JSON.stringify(prune(JSON.parse(bytes().toString()) as JsonObject)));
    });
  }

  /** The same of one event, read back as a value. */
  async renderOne(seen: StoredEvent | VisibleEvent, options: RenderOptions): Promise<JsonObject> {
    const [bytes] = await this.render([seen], options);
    if (bytes === undefined) throw new Error("an event was not written");
    return JSON.parse(bytes.toString()) as JsonObject;
  }

  /** The state event that a state event replaced. */
  async previousOf(event: StoredEvent): Promise<StoredEvent | undefined> {
    return (await this.#findPrevious([event])).get(event);
  }

  async #prepare(
    events: readonly StoredEvent[],
    { viewer, hasPrevious = true, hasBundles = false }: RenderOptions,
  ): Promise<Extras> {
    const { clock, transactionIds } = this.#deps;
    const bundles = hasBundles
      ? await this.#deps.bundles.bundle(events, viewer)
      : new Map<EventId, Bundle>();
    const children = new Map(
      [...childrenOf(bundles.values())].map((child) => [
        child.eventId,
        this.#deps.held.shared(child),
      ]),
    );
    const all = [...events, ...children.values()];
    await this.#loadBases(all);
    return {
      previous: hasPrevious ? await this.#visiblePrevious(events, viewer) : new Map(),
      transactionIds: await transactionIds.of(viewer, all),
      bundles,
      children,
      now: clock(),
    };
  }

  /** Writes the shared parts that are not there yet, or were written before a redaction. */
  async #loadBases(events: readonly StoredEvent[]): Promise<void> {
    const stale = events.filter((event) => {
      const base = this.#bases.get(event);
      return base === undefined || base.redactedBy !== event.redactedBy;
    });
    if (stale.length === 0) return;
    const ids = stale.flatMap(({ redactedBy }) => (redactedBy === undefined ? [] : [redactedBy]));
    const redactions = ids.length === 0 ? undefined : await this.#deps.held.listByIds(ids);
    for (const event of stale) {
      const { redactedBy } = event;
      const redaction = redactedBy === undefined ? undefined : redactions?.get(redactedBy);
      const bytes = baseOf(event, redaction, this.#deps.onError);
      this.#bases.set(event, { redactedBy, bytes });
    }
  }

  async #visiblePrevious(
    events: readonly StoredEvent[],
    viewer: Viewer,
  ): Promise<Extras["previous"]> {
    const found = await this.#findPrevious(events);
    if (found.size === 0) return new Map();
    const visible = new Set(
      await this.#deps.visibility.visibleTo(viewer.userId, [...new Set(found.values())]),
    );
    return new Map(
      [...found].map(([event, previous]) => [
        event.eventId,
        { event: previous, isVisible: visible.has(previous) },
      ]),
    );
  }

  async #findPrevious(events: readonly StoredEvent[]): Promise<Map<StoredEvent, StoredEvent>> {
    const unknown = events.filter(
      (event) =>
        event.stateKey !== undefined &&
        event.snapshotBefore !== undefined &&
        !this.#previous.has(event),
    );
    if (unknown.length > 0) {
      const nids = await Promise.all(
        unknown.map(async ({ type, stateKey, snapshotBefore }) => {
          if (stateKey === undefined || snapshotBefore === undefined) return undefined;
          const state = await this.#deps.states.lookup(snapshotBefore, [{ type, stateKey }]);
          return state.get(placeKey(type, stateKey));
        }),
      );
      const held = await this.#deps.held.list(nids.filter((nid) => nid !== undefined));
      for (const [i, event] of unknown.entries()) {
        const nid = nids[i];
        this.#previous.set(event, (nid === undefined ? undefined : held.get(nid)) ?? null);
      }
    }
    const found = new Map<StoredEvent, StoredEvent>();
    for (const event of events) {
      const previous = this.#previous.get(event);
      if (previous !== undefined && previous !== null) found.set(event, previous);
    }
    return found;
  }

  #write(event: StoredEvent, extras: Extras, { membership, bundle, hasRoomId }: Shown): Buffer {
    const base = this.#bases.get(event);
    if (base === undefined) throw new Error(`the event ${event.eventId} was not prepared`);
    const out = new JsonWriter().add(base.bytes);
    out.add(`"age":${extras.now - event.originServerTs}`);
    if (membership !== undefined) out.add(`,"membership":"${membership}"`);
    const transactionId = extras.transactionIds.get(event.eventId);
    if (transactionId !== undefined) out.add(',"transaction_id":').value(transactionId);
    const previous = extras.previous.get(event.eventId);
    if (previous !== undefined) {
      out.add(',"replaces_state":').value(previous.event.eventId);
      if (previous.isVisible) {
        out.add(',"prev_content":').value(clientFields(previous.event).content);
      }
    }
    if (bundle !== undefined) this.#writeBundle(out, bundle, extras);
    out.add("}");
    if (hasRoomId) out.add(',"room_id":').value(event.roomId);
    return out.add("}").toBuffer();
  }

  #writeBundle(out: JsonWriter, bundle: Bundle, extras: Extras): void {
    const { replacement, thread, references = [] } = bundle;
    const members: (() => void)[] = [];
    // Child events stand on their own, in the format of every other event, with their room.
    const child = ({ eventId }: StoredEvent, own?: Bundle): void => {
      const event = extras.children.get(eventId);
      if (event === undefined) throw new Error(`the event ${eventId} was not prepared`);
      out.add(this.#write(event, extras, { membership: undefined, bundle: own, hasRoomId: true }));
    };
    if (replacement !== undefined) {
      members.push(() => {
        out.add('"m.replace":');
        child(replacement);
      });
    }
    if (thread !== undefined) {
      members.push(() => {
        out.add('"m.thread":{"latest_event":');
        child(thread.latest, thread.latestBundle);
        out.add(`,"count":${thread.count}`);
        out.add(`,"current_user_participated":${thread.hasParticipated}}`);
      });
    }
    if (references.length > 0) {
      members.push(() => {
        out.add('"m.reference":{"chunk":');
        out.value(references.map((event_id) => ({ event_id }))).add("}");
      });
    }
    if (members.length === 0) return;
    out
      .add(',"m.relations":{')
      .list(members, (write) => write())
      .add("}");
  }
}

function* childrenOf(bundles: Iterable<Bundle>): Generator<StoredEvent> {
  for (const { replacement, thread } of bundles) {
    if (replacement !== undefined) yield replacement;
    if (thread === undefined) continue;
    yield thread.latest;
    if (thread.latestBundle !== undefined) yield* childrenOf([thread.latestBundle]);
  }
}

/** An event, redacted where it was, up to within its `unsigned`. */
function baseOf(
  event: StoredEvent,
  redaction: StoredEvent | undefined,
  onError: (error: unknown) => void,
): Buffer {
  const text = JSON.stringify(clientFields(event, onError));
  const out = new JsonWriter().add(text.slice(0, -1)).add(',"unsigned":{');
  if (redaction !== undefined) {
    out.add('"redacted_because":').value(clientFields(redaction)).add(",");
  }
  return out.toBuffer();
}

/** The members of the client format but for `unsigned` and `room_id`. */
export interface ClientFields extends JsonObject {
  content: JsonObject;
  event_id: EventId;
  sender: UserId;
  type: string;
  state_key?: string;
}

/**
 * The members of an event that are the same for all its readers.
 *
 * An event that cannot be read, of a room version that is not known any more or damaged in storage,
 * is shown as its row has it, without content: it must not take its neighbours with it.
 */
export function clientFields(
  event: StoredEvent,
  onError: (error: unknown) => void = () => undefined,
): ClientFields {
  try {
    const { room_id: _, ...fields } = clientFormat(shownForm(event), versionOf(event));
    return fields;
  } catch (cause) {
    onError(new Error(`the event ${event.eventId} cannot be read`, { cause }));
    const { eventId, originServerTs, sender, type, stateKey } = event;
    return {
      content: {},
      event_id: eventId,
      origin_server_ts: originServerTs,
      sender,
      type,
      ...(stateKey === undefined ? {} : { state_key: stateKey }),
    };
  }
}

/** The event as it may be shown: redacted where a redaction applies. */
function shownForm(event: StoredEvent): RoomEvent {
  const version = versionOf(event);
  const read = readStoredEvent(event.json, version, event);
  return event.redactedBy === undefined ? read : redactEvent(read, version);
}

/** The PDU, for clients that ask for `event_format: federation`. */
function federationFormat(event: StoredEvent): JsonObject {
  try {
    return shownForm(event).pdu;
  } catch {
    return clientFields(event);
  }
}

function versionOf({ roomVersion }: StoredEvent): RoomVersion {
  const version = roomVersions.get(roomVersion);
  if (version === undefined) throw new Error(`room version ${roomVersion} is not supported`);
  return version;
}
