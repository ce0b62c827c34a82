/**
 * Timelines as their readers get them: which events they may see, and what these look like.
 *
 * Every chapter that gives events to clients asks here: first {@link Visibility}, then
 * {@link ClientEvents}.
 */
import type { Database } from "../../storage/database.ts";
import type { Memberships } from "../memberships/memberships.ts";
import type { StateStore } from "../rooms/rooms.ts";
import type { Stream } from "../stream/stream.ts";
import { type Bundles, ClientEvents } from "./client-events.ts";
import { HeldEvents } from "./held-events.ts";
import { type FindAccountData, IgnoredUsers } from "./ignored-users.ts";
import { TransactionIds } from "./transaction-ids.ts";
import { Visibility } from "./visibility.ts";

export {
  type Bundle,
  type Bundles,
  type RenderOptions,
  clientFields,
  type Viewer,
} from "./client-events.ts";
export type { ClientEvents } from "./client-events.ts";
export type { HeldEvents } from "./held-events.ts";
export { Pages } from "./pages.ts";
export { readTimelineToken, timelineToken, writeTimelineToken } from "./tokens.ts";
export type { Stay, VisibleEvent } from "./visibility.ts";

export interface Timeline extends Disposable {
  /** Events in memory, shared by all who read them. */
  readonly held: HeldEvents;
  readonly visibility: Visibility;
  readonly clientEvents: ClientEvents;
  readonly ignored: IgnoredUsers;
}

export interface TimelineDeps {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "subscribe">;
  memberships: Pick<Memberships, "load">;
  states: Pick<StateStore, "prefetch" | "lookup">;
  /** Global account data, for the list of ignored users. */
  findAccountData: FindAccountData;
  /** Makes the bundled aggregations, which are themselves subject to visibility. */
  bundles(timeline: Pick<Timeline, "held" | "visibility">): Bundles;
  clock: () => number;
  /** Is told of an event that cannot be read. */
  onError?(error: unknown): void;
}

export function createTimeline(deps: TimelineDeps): Timeline {
  const { database, stream, memberships, states, clock } = deps;
  const { onError = () => undefined } = deps;
  const held = new HeldEvents(database, stream);
  const ignored = new IgnoredUsers(stream, deps.findAccountData);
  const visibility = new Visibility({ database, memberships, states, held, ignored });
  const bundles = deps.bundles({ held, visibility });
  const transactionIds = new TransactionIds(database);
  return {
    held,
    visibility,
    ignored,
    clientEvents: new ClientEvents({
      states,
      held,
      visibility,
      transactionIds,
      bundles,
      clock,
      onError,
    }),
    [Symbol.dispose]() {
      held[Symbol.dispose]();
      ignored[Symbol.dispose]();
    },
  };
}
