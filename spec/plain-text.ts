/** Names that clients choose and that become columns of text: device IDs, transaction IDs, event types. */
import { invalidParam, refine, type Shape, text } from "./shape.ts";

/** A string without U+0000, with bounds on its UTF-8 bytes; 1 to 255 where none are named. */
export function plainText({ minBytes = 1, maxBytes = 255 } = {}): Shape<string> {
  return refine(text({ minBytes, maxBytes }), (value, place) => {
    if (value.includes("\0")) throw invalidParam(place, "holds U+0000");
    return value;
  });
}
