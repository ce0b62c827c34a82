/**
 * The bus: tells other processes that something happened, so that they need not ask.
 *
 * What it carries are hints. A message may be lost, doubled, late or forged, and the worst that
 * follows is a look into PostgreSQL that finds nothing: no right and nothing a client reads may
 * ever be taken from a message.
 */
import { integer, array, object, optional, text } from "../../spec/shape.ts";
import type { Shaped } from "../../spec/shape.ts";

/** Longest list of hints, and longest hint in bytes; a range with more is sent without hints. */
const MAX_HINTS = 500;
const MAX_HINT_BYTES = 256;
/** Largest message of a topic, in bytes. */
export const MAX_MESSAGE_BYTES = 64 * 1024;

/** Entries of the stream with positions in `(from, to]` are committed. */
export interface StreamRange {
  from: number;
  to: number;
  /** The process that wrote them. */
  origin: string;
  /** Ids of the rooms and users concerned; undefined where they are too many: look at all. */
  hints?: readonly string[] | undefined;
}

export interface Bus extends AsyncDisposable {
  /** Tells all processes, this one included. Never fails: a lost message only costs time. */
  publish(range: StreamRange): void;
  /**
   * Hears of ranges, in no certain order across processes.
   *
   * @param onRange is called with undefined where messages may have been missed
   * @returns ends the subscription
   */
  subscribe(onRange: (range: StreamRange | undefined) => void): () => void;

  /** Sends a small message to all processes, this one included, as `publish` does. */
  send(topic: string, message: string): void;
  /** Hears the messages of a topic. */
  listen(topic: string, onMessage: (message: string) => void): () => void;
}

const rangeShape = object({
  from: integer({ min: 0 }),
  to: integer({ min: 0 }),
  origin: text({ minBytes: 1, maxBytes: 64 }),
  hints: optional(array(text({ maxBytes: MAX_HINT_BYTES }), { max: MAX_HINTS })),
});

/** A range as a message within the bounds. */
export function writeRange({ from, to, origin, hints }: StreamRange): string {
  const fits =
    hints !== undefined &&
    hints.length <= MAX_HINTS &&
    hints.every((hint) => Buffer.byteLength(hint) <= MAX_HINT_BYTES);
  const written = JSON.stringify({ from, to, origin, ...(fits ? { hints } : {}) });
  return Buffer.byteLength(written) <= MAX_MESSAGE_BYTES
    ? written
    : JSON.stringify({ from, to, origin });
}

/** @returns undefined for what is not a range */
export function readRange(message: string): StreamRange | undefined {
  if (message.length > MAX_MESSAGE_BYTES) return undefined;
  try {
    const range: Shaped<typeof rangeShape> = rangeShape.read(JSON.parse(message), "range");
    return range.from < range.to ? range : undefined;
  } catch {
    return undefined;
  }
}
