/**
 * Shapes: what a body, query, path or stored JSON must look like.
 *
 * A shape reads an unknown value and gives a typed one, or throws the error that the
 * specification asks for: M_MISSING_PARAM for an absent key, M_BAD_JSON for another type,
 * M_INVALID_PARAM for a value out of range. The message names the place, never the value.
 * https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
 */
import { MatrixError } from "./errors.ts";
import { JsonNumber } from "./strict-json.ts";

export interface Shape<T> {
  /** @param place where the value stands, as in `body.creation_content.type` */
  read(value: unknown, place: string): T;
  /** True for the shape that `optional` makes: the key may be absent. */
  readonly isOptional?: true;
}

/** The type that a shape gives. */
export type Shaped<S> = S extends Shape<infer T> ? T : never;

export type JsonObject = { [key: string]: unknown };

type Fields = Record<string, Shape<unknown>>;
type OptionalKeys<F extends Fields> = {
  [K in keyof F]: undefined extends Shaped<F[K]> ? K : never;
}[keyof F];
export type ObjectOf<F extends Fields> = {
  [K in Exclude<keyof F, OptionalKeys<F>>]: Shaped<F[K]>;
} & { [K in OptionalKeys<F>]?: Shaped<F[K]> };

export function badJson(place: string, expected: string): MatrixError {
  return new MatrixError("M_BAD_JSON", `${place}: expected ${expected}`);
}

export function invalidParam(place: string, problem: string): MatrixError {
  return new MatrixError("M_INVALID_PARAM", `${place}: ${problem}`);
}

export function isObject(value: unknown): value is JsonObject {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof JsonNumber)
  );
}

/** Any JSON value. */
export const json: Shape<unknown> = { read: (value) => value };

/** A string of well-formed Unicode, of any length that the body may have. */
export const string: Shape<string> = {
  read(value, place) {
    if (typeof value !== "string") throw badJson(place, "a string");
    return value;
  },
};

export const boolean: Shape<boolean> = {
  read(value, place) {
    if (typeof value !== "boolean") throw badJson(place, "a boolean");
    return value;
  },
};

/** An object of which nothing more is known. */
export const anyObject: Shape<JsonObject> = {
  read(value, place) {
    if (!isObject(value)) throw badJson(place, "an object");
    return value;
  },
};

interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

/** An integer, within bounds that are part of the range. `1.0` and `1e2` are integers too. */
export function integer({
  min = Number.MIN_SAFE_INTEGER,
  max = Number.MAX_SAFE_INTEGER,
}: Bounds = {}): Shape<number> {
  const bounded = number({ min, max });
  return {
    read(value, place) {
      if (!Number.isInteger(doubleOf(value))) throw badJson(place, "an integer");
      return bounded.read(value, place);
    },
  };
}

/** A number, within bounds that are part of the range. */
export function number({ min = -Infinity, max = Infinity }: Bounds = {}): Shape<number> {
  return {
    read(value, place) {
      const double = doubleOf(value);
      if (double === undefined || !Number.isFinite(double)) throw badJson(place, "a number");
      if (double < min || double > max) throw invalidParam(place, `not within ${min} and ${max}`);
      return double;
    },
  };
}

function doubleOf(value: unknown): number | undefined {
  if (value instanceof JsonNumber) return value.valueOf();
  return typeof value === "number" ? value : undefined;
}

/** A string with bounds on its UTF-8 bytes. */
export function text({
  minBytes = 0,
  maxBytes,
}: {
  minBytes?: number;
  maxBytes: number;
}): Shape<string> {
  return {
    read(value, place) {
      const read = string.read(value, place);
      const bytes = Buffer.byteLength(read);
      if (bytes < minBytes) throw invalidParam(place, `shorter than ${minBytes} bytes`);
      if (bytes > maxBytes) throw invalidParam(place, `longer than ${maxBytes} bytes`);
      return read;
    },
  };
}

/** One of a few strings. */
export function oneOf<const T extends string>(...values: T[]): Shape<T> {
  return {
    read(value, place) {
      const read = string.read(value, place);
      const found = values.find((v) => v === read);
      if (found === undefined) throw invalidParam(place, `not one of ${values.join(", ")}`);
      return found;
    },
  };
}

/** A key that may be absent. `null` is not absence, except where `nullable` says so. */
export function optional<T>(shape: Shape<T>): Shape<T | undefined> {
  return {
    isOptional: true,
    read: (value, place) => (value === undefined ? undefined : shape.read(value, place)),
  };
}

/** A key that may also be `null`, which reads as absence; some clients write it so. */
export function nullable<T>(shape: Shape<T>): Shape<T | undefined> {
  return {
    isOptional: true,
    read: (value, place) =>
      value === undefined || value === null ? undefined : shape.read(value, place),
  };
}

/** A key with a value where it is absent. */
export function withDefault<T>(shape: Shape<T>, fallback: T): Shape<T> {
  return {
    isOptional: true,
    read: (value, place) => (value === undefined ? fallback : shape.read(value, place)),
  };
}

export function array<T>(item: Shape<T>, { max = Infinity } = {}): Shape<T[]> {
  return {
    read(value, place) {
      if (!Array.isArray(value)) throw badJson(place, "an array");
      if (value.length > max) throw invalidParam(place, `more than ${max} items`);
      return value.map((v, i) => item.read(v, `${place}[${i}]`));
    },
  };
}

/** An object whose keys are data: user IDs, event types, algorithm names. */
export function map<K extends string, V>(key: Shape<K>, item: Shape<V>): Shape<Map<K, V>> {
  return {
    read(value, place) {
      const object = anyObject.read(value, place);
      return new Map(
        Object.entries(object).map(([k, v]) => [
          key.read(k, `a key of ${place}`),
          item.read(v, `${place}.${k}`),
        ]),
      );
    },
  };
}

/** An object with known keys. Unknown keys are left out of what it gives. */
export function object<F extends Fields>(fields: F): Shape<ObjectOf<F>> {
  const entries = Object.entries(fields);
  return {
    read(value, place) {
      const from = anyObject.read(value, place);
      const to: JsonObject = {};
      for (const [key, shape] of entries) {
        const member = Object.hasOwn(from, key) ? from[key] : undefined;
        if (member === undefined && shape.isOptional !== true) {
          throw new MatrixError("M_MISSING_PARAM", `${place}.${key} is missing`);
        }
        const read = shape.read(member, `${place}.${key}`);
        if (read !== undefined) to[key] = read;
      }
      return to as ObjectOf<F>;
    },
  };
}

/** A shape whose values are narrowed or changed further. */
export function refine<T, U>(shape: Shape<T>, change: (value: T, place: string) => U): Shape<U> {
  return {
    ...(shape.isOptional === true ? { isOptional: true } : {}),
    read: (value, place) => change(shape.read(value, place), place),
  };
}

/** A query parameter that holds an integer in decimal digits. */
export function queryInteger(bounds: Bounds = {}): Shape<number> {
  const bounded = integer(bounds);
  return {
    read(value, place) {
      const read = string.read(value, place);
      if (!/^-?\d{1,16}$/.test(read)) throw invalidParam(place, "not an integer");
      return bounded.read(Number(read), place);
    },
  };
}

/** A query parameter that holds `true` or `false`. */
export const queryBoolean: Shape<boolean> = {
  read(value, place) {
    const read = string.read(value, place);
    if (read !== "true" && read !== "false") throw invalidParam(place, "not true or false");
    return read === "true";
  },
};

/** A query parameter that may be repeated; one value reads as a list of one. */
export function queryList<T>(item: Shape<T>, { max = 100 } = {}): Shape<T[]> {
  const list = array(item, { max });
  return { read: (value, place) => list.read(Array.isArray(value) ? value : [value], place) };
}
