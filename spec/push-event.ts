/** What push rules read of an event. */
import { foldCase } from "./glob.ts";
import { parsePropertyPath, propertyAt } from "./property-path.ts";
import type { JsonObject } from "./shape.ts";

/** An event that rules are evaluated over; it remembers what several rules ask for. */
export class PushEvent {
  readonly sender: string;
  readonly roomId: unknown;
  readonly #event: JsonObject;
  readonly #values = new Map<string, unknown>();
  readonly #folded = new Map<string, string | undefined>();
  readonly #sets = new Map<string, ReadonlySet<unknown>>();

  /** @param event in the format of clients, with `room_id` and `event_id` */
  constructor(event: JsonObject & { readonly sender: string }) {
    this.sender = event.sender;
    this.roomId = event["room_id"];
    this.#event = event;
  }

  valueAt(path: Path): unknown {
    if (this.#values.has(path.key)) return this.#values.get(path.key);
    const value = propertyAt(this.#event, path.names);
    this.#values.set(path.key, value);
    return value;
  }

  /** The string at a path, its case folded; undefined where there is no string. */
  textAt(path: Path): string | undefined {
    if (this.#folded.has(path.key)) return this.#folded.get(path.key);
    const value = this.valueAt(path);
    const folded = typeof value === "string" ? foldCase(value) : undefined;
    this.#folded.set(path.key, folded);
    return folded;
  }

  /** The items of the array at a path; none where there is no array. */
  itemsAt(path: Path): ReadonlySet<unknown> {
    const known = this.#sets.get(path.key);
    if (known !== undefined) return known;
    const value = this.valueAt(path);
    const items = new Set<unknown>(Array.isArray(value) ? value : []);
    this.#sets.set(path.key, items);
    return items;
  }
}

export interface Path {
  readonly key: string;
  readonly names: readonly string[];
}

export const BODY: Path = { key: "content.body", names: ["content", "body"] };

/** The path that a condition names; undefined where it names none. */
export function pathOf(key: unknown): Path | undefined {
  return typeof key === "string" ? { key, names: parsePropertyPath(key) } : undefined;
}
