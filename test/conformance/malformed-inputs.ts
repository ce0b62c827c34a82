/** Turns a good request into malformed ones. */
import { isObject } from "../../spec/shape.ts";
import type { Facts, Operation } from "../spec-facts/facts.ts";
import { HEADERS, NOT_JSON, NOT_OBJECTS, RAW_JSON, RAW_TEXTS } from "./malformed-values.ts";
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
  const schema = operation.body?.content["application/json"];
  if (schema !== undefined) {
    const { missing, mistyped, misvalued } = variantsOf(good.body, schema, definitions);
    kinds.push(
      [...missing, ...mistyped, ...misvalued].map(({ place, change, body }) =>
        bodyInput(`${place} ${change}`, JSON.stringify(body)),
      ),
      NOT_JSON.map((body) =>
        bodyInput("not JSON", body, { mustFail: body.toString().trim() !== "" }),
      ),
      NOT_OBJECTS.map((body) => bodyInput("no object", body, { mustFail: true })),
      RAW_JSON.flatMap((raw) => replacements(good.body, raw)),
      RAW_JSON.map((raw) =>
        bodyInput("one more key", withRaw({ ...asMembers(good.body), x: MARK }, raw)),
      ),
      [
        bodyInput(
          "a key twice",
          `{"a":1,${JSON.stringify({ ...asMembers(good.body), a: 2 }).slice(1)}`,
          {
            mustFail: true,
          },
        ),
        bodyInput("the body is too large", padded(good.body, maxBodyBytes + 1), { mustFail: true }),
        bodyInput("10,000 keys", JSON.stringify(manyKeys(good.body))),
      ],
    );
  }
  const inputs = takeInTurn(
    kinds.map((kind) => random.shuffle(kind)),
    count,
  );
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

/** Bodies in which each of the members of the good one, at any depth, is another text. */
function replacements(body: unknown, raw: string): MalformedInput[] {
  return placesIn(body).map((path) =>
    bodyInput(`${path.join(".")} changed`, withRaw(withMark(body, path), raw)),
  );
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

/** The same body with so much white space that it has a number of bytes. */
function padded(body: unknown, bytes: number): string {
  const text = JSON.stringify(asMembers(body));
  return text + " ".repeat(Math.max(0, bytes - Buffer.byteLength(text)));
}

function manyKeys(body: unknown): Record<string, unknown> {
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
