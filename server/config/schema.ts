/** What a configuration may hold: settings of several kinds, in sections. */
import { resolve } from "node:path";

/** One key with one value. */
export interface Setting<T> {
  kind: "setting";
  /** The kind of value, in words for the reader of the manual. */
  type: string;
  doc: string;
  /** The value where the key is absent; undefined for none. */
  fallback: T;
  /** Never shown, and readable from a file by `<key>_file`. */
  isSecret: boolean;
  /** Takes a text as it is from the environment; other kinds read it as YAML. */
  isText: boolean;
  /** @throws InvalidSetting */
  read(value: unknown, place: Place): T;
}

/** Keys under one name. */
export interface Section<F extends Fields = Fields> {
  kind: "section";
  doc: string;
  fields: F;
}

/** A list of sections of the same form. */
export interface SectionList<F extends Fields = Fields> {
  kind: "list";
  doc: string;
  item: Section<F>;
  /** Items as they would be written, where the key is absent. */
  fallback: readonly Readonly<Record<string, unknown>>[];
}

export interface Fields {
  readonly [name: string]: Setting<unknown> | Section | SectionList;
}

/** The type of what is read. */
export type ValueOf<S> =
  S extends Setting<infer T>
    ? T
    : S extends Section<infer F>
      ? { readonly [K in keyof F]: ValueOf<F[K]> }
      : S extends SectionList<infer F>
        ? readonly ValueOf<Section<F>>[]
        : never;

export interface Place {
  /** The folder that relative paths start from. */
  base: string;
}

/** A value that a setting does not take; the message says what it takes. */
export class InvalidSetting extends Error {
  override readonly name = "InvalidSetting";
}

interface Options<T> {
  doc: string;
  fallback: T;
  isSecret?: boolean;
}

function setting<T>(
  type: string,
  options: Options<T>,
  read: (value: unknown, place: Place) => T,
  isText = false,
): Setting<T> {
  const { doc, fallback, isSecret = false } = options;
  return { kind: "setting", type, doc, fallback, isSecret, isText, read };
}

export function section<F extends Fields>(doc: string, fields: F): Section<F> {
  return { kind: "section", doc, fields };
}

export function list<F extends Fields>(
  doc: string,
  fields: F,
  fallback: readonly Readonly<Record<string, unknown>>[] = [],
): SectionList<F> {
  return { kind: "list", doc, item: section("", fields), fallback };
}

/** A text; `check` throws InvalidSetting for one it does not take. */
export function text(
  options: Options<string> & { check?: (value: string) => void; type?: string },
): Setting<string>;
export function text(
  options: Options<undefined> & { check?: (value: string) => void; type?: string },
): Setting<string | undefined>;
export function text(
  options: Options<string | undefined> & { check?: (value: string) => void; type?: string },
): Setting<string | undefined> {
  return setting<string | undefined>(
    options.type ?? "text",
    options,
    (value) => {
      const read = asText(value);
      options.check?.(read);
      return read;
    },
    true,
  );
}

export function flag(options: Options<boolean>): Setting<boolean> {
  return setting("`true` or `false`", options, (value) => {
    if (typeof value !== "boolean") throw new InvalidSetting("expected true or false");
    return value;
  });
}

export function number(
  options: Options<number> & { min?: number; max?: number; isInteger?: boolean },
): Setting<number> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER, isInteger = true } = options;
  return setting(isInteger ? "integer" : "number", options, (value) => {
    if (typeof value !== "number" || (isInteger && !Number.isInteger(value))) {
      throw new InvalidSetting(isInteger ? "expected an integer" : "expected a number");
    }
    if (!(value >= min && value <= max)) {
      throw new InvalidSetting(`expected a number from ${min} to ${max}`);
    }
    return value;
  });
}

export function choice<const V extends string>(
  values: readonly V[],
  options: Options<NoInfer<V>>,
): Setting<V> {
  const names = values.map((value) => `\`${value}\``).join(", ");
  return setting(`one of ${names}`, options, (value) => oneOf(values, value), true);
}

/** A file or folder; relative to the folder of the configuration. */
export function path(options: Options<string>): Setting<string>;
export function path(options: Options<undefined>): Setting<string | undefined>;
export function path(options: Options<string | undefined>): Setting<string | undefined> {
  return setting<string | undefined>(
    "path",
    options,
    (value, { base }) => toPath(base, asText(value)),
    true,
  );
}

export function paths(options: Options<readonly string[]>): Setting<readonly string[]> {
  return setting("list of paths", options, (value, { base }) =>
    asList(value).map((item) => resolve(base, asText(item))),
  );
}

export function texts(
  options: Options<readonly string[]> & { check?: (value: string) => void; type?: string },
): Setting<readonly string[]>;
export function texts(
  options: Options<undefined> & { check?: (value: string) => void; type?: string },
): Setting<readonly string[] | undefined>;
export function texts(
  options: Options<readonly string[] | undefined> & {
    check?: (value: string) => void;
    type?: string;
  },
): Setting<readonly string[] | undefined> {
  return setting<readonly string[] | undefined>(
    options.type ?? "list of texts",
    options,
    (value) => {
      const items = asList(value).map(asText);
      for (const item of items) options.check?.(item);
      return items;
    },
  );
}

export function choices<const V extends string>(
  values: readonly V[],
  options: Options<readonly NoInfer<V>[]>,
): Setting<readonly V[]> {
  const names = values.map((value) => `\`${value}\``).join(", ");
  return setting(`list of ${names}`, options, (value) =>
    asList(value).map((item) => oneOf(values, item)),
  );
}

/** Members that are passed on as they are. */
export function anyMap(
  options: Options<Readonly<Record<string, unknown>>>,
): Setting<Readonly<Record<string, unknown>>> {
  return setting("map", options, (value) => {
    if (!isMap(value)) throw new InvalidSetting("expected a map of keys and values");
    return value;
  });
}

const UNITS_MS = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};
const UNITS_BYTES = { K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

/** A time in ms, written as a number of ms or with a unit: `30s`, `5m`, `1h`, `7d`. */
export function duration(options: Options<number>): Setting<number> {
  return setting("duration, such as `30s`, `5m`, `1h`, `7d`", options, (value) =>
    withUnit(value, UNITS_MS, "a duration such as 30s, 5m, 1h or 7d"),
  );
}

/** A size in bytes, written as a number or with a unit: `512K`, `50M`, `1G`. */
export function size(options: Options<number>): Setting<number> {
  return setting("size, such as `512K`, `50M`, `1G`", options, (value) =>
    withUnit(value, UNITS_BYTES, "a size such as 512K, 50M or 1G"),
  );
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function withUnit(value: unknown, units: Readonly<Record<string, number>>, what: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  const [, digits, unit] = /^(\d{1,12})\s*([a-zA-Z]*)$/.exec(String(value)) ?? [];
  const factor = unit === "" ? 1 : units[unit ?? ""];
  if (digits === undefined || factor === undefined) throw new InvalidSetting(`expected ${what}`);
  return Number(digits) * factor;
}

/** What begins with another setting's name in braces is filled in when all are read. */
function toPath(base: string, path: string): string {
  return path.startsWith("{") ? path : resolve(base, path);
}

function asText(value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  // A version number or a password of digits, written without quotes.
  if (typeof value === "number") return String(value);
  throw new InvalidSetting("expected a text");
}

function asList(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new InvalidSetting("expected a list");
  return value;
}

function oneOf<V extends string>(values: readonly V[], value: unknown): V {
  const found = values.find((known) => known === String(value));
  if (found === undefined) throw new InvalidSetting(`expected one of ${values.join(", ")}`);
  return found;
}
