/** Turns a good request into malformed ones. */
import { isObject } from "../../spec/shape.ts";
import type { Facts, Operation } from "../spec-facts/facts.ts";
import {
  EMPTY,
  HEADERS,
  NOT_JSON,
  NOT_OBJECTS,
  NOT_UTF8,
  RAW_JSON,
  RAW_TEXTS,
  WORST_JSON,
} from "./malformed-values.ts";
import type { Draft } from "./plan.ts";
import type { Random } from "./random.ts";
import { variantsOf } from "./variants.ts";

export interface MalformedInput {
  what: string;
  /** Whether nothing but a refusal is right. */
  mustFail: boolean;
  apply(good: Draft): Draft;
}

export interface InputOptions {
  count: number;
  random: Random;
  /** Most bytes that the operation's JSON body may have. */
  maxBodyBytes: number;
  definitions: Facts["definitions"];
}

/** Stands where a text of JSON is put in as it is. */
const MARK = "\uE000";

/** Malformed inputs of an operation: as many of every kind that there is for it, made of a good one. */
export function malformedInputs(
  operation: Operation,
  good: Draft,
  { count, random, maxBodyBytes, definitions }: InputOptions,
): MalformedInput[] {
  const { params = [], query = [] } = operation;
  const kinds = [
    ...params.map(({ name }) => RAW_TEXTS.map((raw) => pathInput(name, raw))),
    ...query.map(({ name }) => RAW_TEXTS.map((raw) => queryInput(name, raw))),
    RAW_TEXTS.map((raw) => queryInput("access_token", raw)),
    HEADERS.map(headerInput),
  ];
  /** All of these are among the inputs, whatever the seed. */
  const always: MalformedInput[] = [];
  const schema = operation.body?.content["application/json"];
  if (schema !== undefined) {
    const { body } = good;
    const { missing, mistyped, misvalued } = variantsOf(body, schema, definitions);
    const wrong = [...missing, ...mistyped, ...misvalued];
    const bad = { mustFail: true };
    always.push(
      ...WORST_JSON.map((raw) => replaced(body, raw, random)),
      ...NOT_UTF8.map((bytes) => bodyInput("no UTF-8", bytes, bad)),
      bodyInput("a key twice", withKeyTwice(body), bad),
      bodyInput("too large", padded(body, maxBodyBytes + 1), bad),
      bodyInput("10,000 keys", JSON.stringify(withManyKeys(body))),
    );
    kinds.push(
      wrong.map((variant) =>
        bodyInput(`${variant.place} ${variant.change}`, JSON.stringify(variant.body)),
      ),
      NOT_JSON.map((text) => bodyInput("not JSON", text, bad)),
      EMPTY.map((text) => bodyInput("empty", text)),
      NOT_OBJECTS.map((text) => bodyInput("no object", text, bad)),
      RAW_JSON.map((raw) => replaced(body, raw, random)),
      RAW_JSON.map((raw) =>
        bodyInput("one more key", withRaw({ ...asMembers(body), x: MARK }, raw)),
      ),
    );
  }
  const shuffled = kinds.map((kind) => random.shuffle(kind));
  const inputs = [...always, ...takeInTurn(shuffled, count - always.length)];
  while (inputs.length < count) inputs.push(strangeInput(operation, random));
  return inputs;
}

function pathInput(name: string, raw: string): MalformedInput {
  return {
    what: `the parameter ${name} is ${shortened(raw)}`,
    mustFail: false,
    apply: (good) => ({
      ...good,
      segments: good.segments.map((segment) =>
        segment.name === name ? { name, text: raw } : segment,
      ),
    }),
  };
}

function queryInput(name: string, raw: string): MalformedInput {
  return {
    what: `the query's ${name} is ${shortened(raw)}`,
    mustFail: false,
    apply: (good) => ({
      ...good,
      query: [...good.query.filter(([other]) => other !== name), [name, raw]],
    }),
  };
}

function headerInput(headers: Record<string, string>): MalformedInput {
  return {
    what: `headers ${shortened(JSON.stringify(headers))}`,
    mustFail: false,
    apply: (good) => ({ ...good, headers: { ...good.headers, ...headers } }),
  };
}

function bodyInput(what: string, body: string | Buffer, { mustFail = false } = {}): MalformedInput {
  return {
    what: `${what}: the body is ${shortened(body.toString())}`,
    mustFail,
    apply: (good) => ({ ...good, body }),
  };
}

/** The body with another text in the place of one of its members, at any depth. */
function replaced(body: unknown, raw: string, random: Random): MalformedInput {
  const places = placesIn(body);
  const path = places.length === 0 ? ["x"] : random.pick(places);
  return bodyInput(`${path.join(".")} changed`, withRaw(withMark(body, path), raw));
}

/** The paths of all members and items. */
function placesIn(value: unknown): string[][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => [
    [key],
    ...placesIn(item).map((path) => [key, ...path]),
  ]);
}

function withMark(value: unknown, [key, ...rest]: string[]): unknown {
  if (key === undefined) return MARK;
  if (Array.isArray(value)) {
    return value.map((item: unknown, i) => (String(i) === key ? withMark(item, rest) : item));
  }
  return isObject(value) ? { ...value, [key]: withMark(value[key], rest) } : MARK;
}

function withRaw(marked: unknown, raw: string): string {
  return JSON.stringify(marked).replace(`"${MARK}"`, () => raw);
}

function asMembers(body: unknown): Record<string, unknown> {
  return isObject(body) ? body : {};
}

function withKeyTwice(body: unknown): string {
  return `{"a":1,${JSON.stringify({ ...asMembers(body), a: 2 }).slice(1)}`;
}

/** The same body with so much white space that it has a number of bytes. */
function padded(body: unknown, bytes: number): string {
  const text = JSON.stringify(asMembers(body));
  return text + " ".repeat(Math.max(0, bytes - Buffer.byteLength(text)));
}

function withManyKeys(body: unknown): Record<string, unknown> {
  const keys = Array.from({ length: 10_000 }, (_, i) => [`k${i}`, i] as const);
  return { ...asMembers(body), ...Object.fromEntries(keys) };
}

/** Several strange things at once, for operations with little to change. */
function strangeInput({ params = [] }: Operation, random: Random): MalformedInput {
  const parts = [
    queryInput(random.pick(RAW_TEXTS), random.pick(RAW_TEXTS)),
    headerInput(random.pick(HEADERS)),
    bodyInput("bytes", random.bytes(random.below(200))),
    ...params.map(({ name }) => pathInput(name, random.pick(RAW_TEXTS))),
  ].filter(() => random.below(2) === 0);
  return {
    what: parts.map(({ what }) => what).join("; "),
    mustFail: false,
    apply: (good) => parts.reduce((draft, part) => part.apply(draft), good),
  };
}

/** The first of each list, then the second of each, and so on. */
function takeInTurn<T>(lists: T[][], count: number): T[] {
  const taken: T[] = [];
  const longest = Math.max(...lists.map((list) => list.length));
  for (let i = 0; i < longest && taken.length < count; i++) {
    taken.push(...lists.flatMap((list) => list.slice(i, i + 1)));
  }
  return taken.slice(0, count);
}

function shortened(text: string): string {
  const shown = JSON.stringify(text);
  return shown.length > 160 ? `${shown.slice(0, 150)}... (${text.length})` : shown;
}
