/** What a user was notified about: https://spec.matrix.org/v1.19/client-server-api/#listing-notifications */
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { Database } from "../../storage/database.ts";
import type { StoredEvent } from "../../storage/events.ts";
import * as notifications from "../../storage/notifications.ts";
import type { Timeline, Viewer } from "../timeline/timeline.ts";

export interface ShownNotification {
  actions: unknown[];
  event: JsonObject;
  isRead: boolean;
  roomId: RoomId;
  ts: number;
}

export interface NotificationsPage {
  notifications: ShownNotification[];
  /** Where the next page starts; undefined after the last. */
  next: number | undefined;
}

/** Those about events that the viewer may see, newest first. */
export async function listNotifications(
  deps: {
    database: Pick<Database, "db">;
    timeline: Pick<Timeline, "held" | "visibility" | "clientEvents">;
  },
  viewer: Viewer,
  which: { before: number | undefined; isHighlight: boolean; limit: number },
): Promise<NotificationsPage> {
  const { held, visibility, clientEvents } = deps.timeline;
  const rows = await notifications.list(deps.database.db, viewer.userId, which);
  const events = await held.list(rows.map(({ eventNid }) => eventNid));
  const found = rows.flatMap(({ eventNid }) => events.get(eventNid) ?? []);
  const seen = new Set(await visibility.visibleTo(viewer.userId, found));
  // An invite is sent to whom it invites, though the room is not to be seen yet.
  const visible = found.filter((event) => seen.has(event) || isAbout(event, viewer.userId));
  const rendered = await clientEvents.render(visible, { viewer, hasRoomId: false });
  const shown = new Map(visible.map((event, i) => [event.nid, { event, bytes: rendered[i] }]));
  return {
    notifications: rows.flatMap(({ eventNid, actions, isRead, ts }) => {
      const { event, bytes } = shown.get(eventNid) ?? {};
      if (event === undefined || bytes === undefined) return [];
      const body = JSON.parse(bytes.toString()) as JsonObject;
      return [{ actions, event: body, isRead, roomId: event.roomId, ts }];
    }),
    next: rows.length === which.limit ? rows.at(-1)?.position : undefined,
  };
}

function isAbout({ type, stateKey }: StoredEvent, userId: UserId): boolean {
  return type === "m.room.member" && stateKey === userId;
}
