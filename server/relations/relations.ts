/**
 * Relations between events and their aggregations:
 * https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events
 */
import { MatrixError } from "../../spec/errors.ts";
import type { EventId, RoomId, UserId } from "../../spec/identifiers.ts";
import { isObject } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import { contentOf, type StoredEvent, type TimelineOrder } from "../../storage/events.ts";
import * as storedRelations from "../../storage/relations.ts";
import * as rooms from "../../storage/rooms.ts";
import type { Stream } from "../stream/stream.ts";
import type { Bundle, Bundles, Timeline, Viewer } from "../timeline/timeline.ts";
import { RecentRelations } from "./recent-relations.ts";

/** Children of one sort that an event's bundle is made of; a thread with more is counted by the database. */
const MAX_CHILDREN = 1000;
/** https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events */
const BUNDLED = ["m.replace", "m.reference", "m.thread"];
/** Events of which `recurse` follows the relations, on each level. */
const MAX_PARENTS = 1000;
/** Events looked at for one page, however many of them are visible. */
const MAX_SCANNED = 5000;
const BATCH = 100;
/** Relations followed downward by `recurse`: https://spec.matrix.org/v1.19/client-server-api/#relationships-api */
const MAX_RECURSION = 3;

export interface RelationsQuery {
  relType?: string | undefined;
  eventType?: string | undefined;
  direction: "forward" | "backward";
  from?: TimelineOrder | undefined;
  to?: TimelineOrder | undefined;
  limit: number;
  recurse: boolean;
}

export interface RelationsPage {
  events: StoredEvent[];
  /** Where the next page starts; undefined after the last. */
  next: TimelineOrder | undefined;
  depth: number;
}

interface Deps {
  database: Pick<Database, "db">;
  timeline: Pick<Timeline, "held" | "visibility">;
  recent: RecentRelations;
}

/** Follows the stream for relations among new events. */
export function openRecentRelations(stream: Stream): RecentRelations {
  return new RecentRelations(stream);
}

export class Relations implements Bundles {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  async bundle(
    events: readonly StoredEvent[],
    viewer: Viewer,
  ): Promise<ReadonlyMap<EventId, Bundle>> {
    const bundles = new Map<EventId, Bundle>();
    const parents = events.filter(
      (event) => event.stateKey === undefined && event.redactedBy === undefined,
    );
    if (parents.length === 0) return bundles;
    const children = await this.#childrenOf(parents);
    if (children.size === 0) return bundles;
    const all = [...children.values()].flat();
    const visible = new Set(
      (await this.#deps.timeline.visibility.visibleTo(viewer.userId, all)).map((e) => e.eventId),
    );
    for (const parent of parents) {
      const ofParent = children.get(parent.eventId) ?? [];
      const seen = ofParent.filter(
        (child) =>
          child.roomId === parent.roomId &&
          child.redactedBy === undefined &&
          visible.has(child.eventId),
      );
      const replies = ofParent.filter(({ relType }) => relType === "m.thread");
      const isCut = replies.length >= MAX_CHILDREN;
      const bundle = await this.#bundleOf(parent, seen, { viewer, isCut });
      if (bundle !== undefined) bundles.set(parent.eventId, bundle);
    }
    return bundles;
  }

  /** Pages through the events that relate to one. @throws MatrixError M_NOT_FOUND */
  async page(
    roomId: RoomId,
    eventId: EventId,
    reader: UserId,
    query: RelationsQuery,
  ): Promise<RelationsPage> {
    const { database, timeline } = this.#deps;
    const parent = (await timeline.held.listByIds([eventId])).get(eventId);
    const [seen] =
      parent?.roomId === roomId ? await timeline.visibility.visibleTo(reader, [parent]) : [];
    if (seen === undefined) throw new MatrixError("M_NOT_FOUND", "no such event");

    const { roomNid } = seen;
    const parents = new Set<EventId>([eventId]);
    let depth = 1;
    for (let level = [eventId]; query.recurse && depth < MAX_RECURSION; depth += 1) {
      const ids = await storedRelations.listChildIds(database.db, roomNid, level, MAX_PARENTS);
      level = ids.filter((id) => !parents.has(id));
      if (level.length === 0) break;
      for (const id of level) parents.add(id);
    }
    const { direction, to, relType, eventType: type, limit } = query;
    const events: StoredEvent[] = [];
    let { from } = query;
    for (let scanned = 0; scanned < MAX_SCANNED;) {
      const size = Math.max(BATCH, limit - events.length + 1);
      const which = { direction, from, to, relType, type, limit: size };
      const batch = await storedRelations.pageOfChildren(database.db, roomNid, [...parents], which);
      const visible = await timeline.visibility.visibleTo(reader, batch);
      events.push(...visible.slice(0, limit + 1 - events.length));
      if (events.length > limit) {
        return { events: events.slice(0, limit), next: events[limit - 1]?.order, depth };
      }
      if (batch.length < size) return { events, next: undefined, depth };
      scanned += batch.length;
      from = batch.at(-1)?.order;
    }
    return { events, next: from, depth };
  }

  /** Pages through the roots of a room's threads, the latest reply first. @throws MatrixError M_FORBIDDEN */
  async threads(
    roomId: RoomId,
    reader: UserId,
    query: { participated: boolean; from?: number | undefined; limit: number },
  ): Promise<{ events: StoredEvent[]; next: number | undefined }> {
    const { database, timeline } = this.#deps;
    const room = await rooms.findRoom(database.db, roomId);
    const membership =
      room === undefined ? undefined : await rooms.findMembership(database.db, room.nid, reader);
    if (room === undefined || membership === undefined || membership.membership === "ban") {
      throw new MatrixError("M_FORBIDDEN", "not in the room");
    }
    const events: StoredEvent[] = [];
    let { from } = query;
    for (;;) {
      const roots = await storedRelations.listThreadRoots(database.db, room.nid, {
        ...(from === undefined ? {} : { before: from }),
        ...(query.participated ? { participant: reader } : {}),
        limit: query.limit,
      });
      const byId = await timeline.held.listByIds(roots.map((root) => root.eventId));
      for (const [i, root] of roots.entries()) {
        from = root.latest;
        const event = byId.get(root.eventId);
        if (event === undefined || event.roomId !== roomId) continue;
        const visible = await timeline.visibility.visibleTo(reader, [event]);
        events.push(...visible);
        if (events.length === query.limit) {
          const hasMore = i < roots.length - 1 || roots.length === query.limit;
          return { events, next: hasMore ? from : undefined };
        }
      }
      if (roots.length < query.limit) return { events, next: undefined };
    }
  }

  async #childrenOf(parents: readonly StoredEvent[]): Promise<Map<EventId, StoredEvent[]>> {
    const { database, recent, timeline } = this.#deps;
    const children = new Map<EventId, StoredEvent[]>();
    const asked: EventId[] = [];
    for (const parent of parents) {
      const known = recent.childrenOf(parent);
      if (known === undefined) asked.push(parent.eventId);
      else if (known.length > 0) children.set(parent.eventId, [...known]);
    }
    if (asked.length > 0) {
      const which = { relTypes: BUNDLED, limit: MAX_CHILDREN };
      const found = await storedRelations.listChildren(database.db, asked, which);
      for (const stored of found) {
        const child = timeline.held.shared(stored);
        if (child.relatesTo === undefined) continue;
        const siblings = children.get(child.relatesTo);
        if (siblings === undefined) children.set(child.relatesTo, [child]);
        else siblings.push(child);
      }
    }
    return children;
  }

  async #bundleOf(
    parent: StoredEvent,
    children: readonly StoredEvent[],
    { viewer, isCut }: { viewer: Viewer; isCut: boolean },
  ): Promise<Bundle | undefined> {
    const bundle: Bundle = {};
    const replacement = children.findLast((child) => isReplacement(parent, child));
    if (replacement !== undefined) bundle.replacement = replacement;
    const references = children.filter(({ relType }) => relType === "m.reference");
    if (references.length > 0) bundle.references = references.map(({ eventId }) => eventId);
    const replies = children.filter(({ relType }) => relType === "m.thread");
    const latest = replies.at(-1);
    if (latest !== undefined && parent.relType === undefined) {
      const { db } = this.#deps.database;
      bundle.thread = {
        latest,
        latestBundle: (await this.bundle([latest], viewer)).get(latest.eventId),
        count: isCut ? await storedRelations.countReplies(db, parent.eventId) : replies.length,
        hasParticipated:
          parent.sender === viewer.userId ||
          replies.some(({ sender }) => sender === viewer.userId) ||
          (isCut && (await storedRelations.hasReplied(db, parent.eventId, viewer.userId))),
      };
    }
    return Object.keys(bundle).length === 0 ? undefined : bundle;
  }
}

/** https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events */
function isReplacement(original: StoredEvent, child: StoredEvent): boolean {
  if (child.relType !== "m.replace" || original.relType === "m.replace") return false;
  if (child.sender !== original.sender || child.type !== original.type) return false;
  if (child.stateKey !== undefined || original.stateKey !== undefined) return false;
  // What is encrypted carries its new content where we cannot see it.
  return child.type === "m.room.encrypted" || isObject(contentOf(child)["m.new_content"]);
}
