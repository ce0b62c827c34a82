/**
 * Tokens: places in a room's timeline, and in the stream. Opaque to clients.
 *
 * `t<position>_<offset>` is a place in a timeline; what is read from there excludes the event at it.
 * `s<epoch>_<position>_…` is what `/sync` gives; it is also a place in any timeline, after the events
 * that it told of.
 */
import { MatrixError } from "../../spec/errors.ts";
import type { Shape } from "../../spec/shape.ts";
import { string } from "../../spec/shape.ts";
import type { TimelineOrder } from "../../storage/events.ts";

const TIMELINE = /^t([0-9a-z]{1,11})_(-?[0-9a-z]{1,11})$/;
const SYNC = /^s[0-9a-z]{1,11}_([0-9a-z]{1,11})(?:_|$)/;

/** Reading backward from here gives what comes before an event, forward what comes after it. */
export function writeTimelineToken({ position, offset }: TimelineOrder): string {
  return `t${position.toString(36)}_${offset.toString(36)}`;
}

/**
 * Reads a token of a timeline or of `/sync`.
 *
 * @throws MatrixError M_INVALID_PARAM for any other
 */
export function readTimelineToken(token: string, place: string): TimelineOrder {
  const [, position, offset] = TIMELINE.exec(token) ?? [];
  if (position !== undefined && offset !== undefined) {
    const order = { position: parseInt(position, 36), offset: parseInt(offset, 36) };
    if (Number.isSafeInteger(order.position) && Number.isSafeInteger(order.offset)) return order;
  }
  const [, stream] = SYNC.exec(token) ?? [];
  if (stream !== undefined) {
    const position = parseInt(stream, 36);
    if (Number.isSafeInteger(position)) return orderAfter(position);
  }
  throw new MatrixError("M_INVALID_PARAM", `${place}: not a token of this server`);
}

/** The same, as a shape of a query parameter. */
export const timelineToken: Shape<TimelineOrder> = {
  read: (value, place) => readTimelineToken(string.read(value, place), place),
};

/** History fetched later stands before the position it belongs to, so no event is at offset 1. */
function orderAfter(position: number): TimelineOrder {
  return { position, offset: 1 };
}
