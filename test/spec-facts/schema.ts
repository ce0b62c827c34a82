/** Judges a value by a schema of the table of facts. */
import {
  isEventId,
  isRoomAlias,
  isRoomId,
  isServerName,
  isUserId,
  parseMxc,
} from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import type { Facts, Schema, TypeName } from "./facts.ts";

type Definitions = Facts["definitions"];

/** Formats whose values are judged; all others are hints for people. */
const FORMATS: Record<string, (value: string) => boolean> = {
  "mx-event-id": isEventId,
  "mx-mxc-uri": (value) => parseMxc(value) !== undefined,
  "mx-room-alias": isRoomAlias,
  "mx-room-id": isRoomId,
  "mx-server-name": isServerName,
  "mx-unpadded-base64": (value) => /^[A-Za-z0-9+/]*$/.test(value) && value.length % 4 !== 1,
  "mx-user-id": isUserId,
  uri: (value) => URL.canParse(value),
};

const INTEGER_LIMIT = 2 ** 53 - 1;

/**
 * @param place what the value is called in the messages, as in `response`
 * @returns what is wrong, each with its place, as in `response.rooms.join["!a:x"].timeline: ...`;
 *   empty where the value satisfies the schema
 */
export function violations(
  value: unknown,
  schema: Schema,
  definitions: Definitions,
  place = "value",
): string[] {
  const found: string[] = [];
  new Judge(definitions, found).judge(value, schema, place);
  return found;
}

/** A schema with its reference followed. */
export function resolved(schema: Schema, definitions: Definitions): Schema {
  let at = schema;
  while (at.$ref !== undefined) {
    const next = definitions[at.$ref];
    if (next === undefined) throw new Error(`no definition ${at.$ref}`);
    at = next;
  }
  return at;
}

class Judge {
  readonly #definitions: Definitions;
  readonly #found: string[];

  constructor(definitions: Definitions, found: string[]) {
    this.#definitions = definitions;
    this.#found = found;
  }

  judge(value: unknown, named: Schema, place: string): void {
    const schema = resolved(named, this.#definitions);
    if (schema.type !== undefined && ![schema.type].flat().includes(typeOf(value, schema.type))) {
      this.#say(place, `expected ${[schema.type].flat().join(" or ")}, found ${show(value)}`);
      return;
    }
    if (schema.enum !== undefined && !schema.enum.some((item) => item === value)) {
      this.#say(place, `expected one of ${schema.enum.join(", ")}, found ${show(value)}`);
    }
    if (typeof value === "string") this.#string(value, schema, place);
    if (Array.isArray(value)) this.#array(value, schema, place);
    if (isObject(value)) this.#object(value, schema, place);
    if (schema.oneOf !== undefined) this.#alternatives(value, schema.oneOf, place, "exactly one");
    if (schema.anyOf !== undefined) this.#alternatives(value, schema.anyOf, place, "one");
  }

  #string(value: string, schema: Schema, place: string): void {
    if (schema.pattern !== undefined && !new RegExp(schema.pattern, "u").test(value)) {
      this.#say(place, `does not match ${schema.pattern}: ${show(value)}`);
    } else if (schema.format !== undefined && FORMATS[schema.format]?.(value) === false) {
      this.#say(place, `is not a valid ${schema.format}: ${show(value)}`);
    }
  }

  #array(value: unknown[], schema: Schema, place: string): void {
    this.#count(value.length, "items", [schema.minItems, schema.maxItems], place);
    const { items } = schema;
    if (items === undefined) return;
    for (const [i, item] of value.entries()) {
      const of = Array.isArray(items) ? items[i] : items;
      if (of !== undefined) this.judge(item, of, `${place}[${i}]`);
    }
  }

  #object(value: JsonObject, schema: Schema, place: string): void {
    for (const key of schema.required ?? []) {
      if (!Object.hasOwn(value, key)) this.#say(place, `lacks ${key}`);
    }
    const entries = Object.entries(value);
    this.#count(entries.length, "keys", [schema.minProperties, schema.maxProperties], place);
    const patterns = Object.entries(schema.patternProperties ?? {});
    for (const [key, item] of entries) {
      const at = /^[A-Za-z_]\w*$/.test(key) ? `${place}.${key}` : `${place}[${show(key)}]`;
      const own = schema.properties !== undefined && Object.hasOwn(schema.properties, key);
      if (own && schema.properties?.[key] !== undefined) {
        this.judge(item, schema.properties[key], at);
        continue;
      }
      const matching = patterns.filter(([pattern]) => new RegExp(pattern, "u").test(key));
      for (const [, of] of matching) this.judge(item, of, at);
      if (matching.length > 0) continue;
      const rest = schema.additionalProperties;
      if (isObject(rest)) this.judge(item, rest, at);
      // The specification describes its maps by the patterns of their keys and means no others.
      else if (rest === false || (rest === undefined && patterns.length > 0)) {
        this.#say(place, `has the unexpected key ${show(key)}`);
      }
    }
  }

  #alternatives(value: unknown, of: Schema[], place: string, wanted: "one" | "exactly one"): void {
    const verdicts = of.map((schema) => violations(value, schema, this.#definitions, place));
    const fitting = verdicts.filter((verdict) => verdict.length === 0).length;
    if (fitting === 0) {
      const nearest = verdicts.toSorted((a, b) => a.length - b.length)[0] ?? [];
      this.#say(place, `fits none of ${of.length} alternatives; of the nearest: ${nearest[0]}`);
    } else if (fitting > 1 && wanted === "exactly one") {
      this.#say(place, `fits ${fitting} alternatives instead of one`);
    }
  }

  #count(
    count: number,
    of: string,
    [min = 0, max = Infinity]: [number | undefined, number | undefined],
    place: string,
  ): void {
    if (count < min || count > max) {
      this.#say(place, `has ${count} ${of}, not ${min} to ${max}`);
    }
  }

  #say(place: string, problem: string): void {
    this.#found.push(`${place}: ${problem}`);
  }
}

/** The type of a JSON value; an integer is a number too where a number is wanted. */
function typeOf(value: unknown, wanted: TypeName | TypeName[]): TypeName {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") {
    const isInteger = Number.isInteger(value) && Math.abs(value) <= INTEGER_LIMIT;
    return isInteger && [wanted].flat().includes("integer") ? "integer" : "number";
  }
  if (typeof value === "string") return "string";
  return typeof value === "boolean" ? "boolean" : "object";
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
