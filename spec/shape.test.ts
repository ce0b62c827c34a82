import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type ErrorCode, MatrixError } from "./errors.ts";
import {
  anyObject,
  array,
  boolean,
  integer,
  json,
  map,
  nullable,
  number,
  object,
  oneOf,
  optional,
  queryBoolean,
  queryInteger,
  queryList,
  refine,
  type Shape,
  string,
  text,
  withDefault,
} from "./shape.ts";
import { parseJson } from "./strict-json.ts";

const BAD = "M_BAD_JSON";
const INVALID = "M_INVALID_PARAM";
const MISSING = "M_MISSING_PARAM";

function refuses(shape: Shape<unknown>, value: unknown, errcode: ErrorCode, place = "body") {
  assert.throws(
    () => shape.read(value, "body"),
    (error) =>
      error instanceof MatrixError && error.errcode === errcode && error.message.startsWith(place),
    `${String(value)} should be refused with ${errcode} at ${place}`,
  );
}

function fromJson(text: string): unknown {
  return parseJson(Buffer.from(text), { maxDepth: 10 });
}

/** One value of each type that JSON has. */
const TYPES: Record<string, unknown> = {
  null: null,
  boolean: true,
  number: 5,
  fraction: 1.5,
  string: "x",
  array: [],
  object: {},
  odd: fromJson("1e400"),
};

describe("shapes", () => {
  const cases: { name: string; shape: Shape<unknown>; takes: string[] }[] = [
    { name: "string", shape: string, takes: ["string"] },
    { name: "text", shape: text({ maxBytes: 9 }), takes: ["string"] },
    { name: "boolean", shape: boolean, takes: ["boolean"] },
    { name: "integer", shape: integer(), takes: ["number"] },
    { name: "number", shape: number(), takes: ["number", "fraction"] },
    { name: "anyObject", shape: anyObject, takes: ["object"] },
    { name: "object", shape: object({}), takes: ["object"] },
    { name: "map", shape: map(string, string), takes: ["object"] },
    { name: "array", shape: array(string), takes: ["array"] },
    { name: "json", shape: json, takes: Object.keys(TYPES) },
    { name: "oneOf", shape: oneOf("x", "y"), takes: ["string"] },
  ];
  for (const { name, shape, takes } of cases) {
    it(`${name} takes ${takes.join(" and ")}, and refuses another type with M_BAD_JSON`, () => {
      for (const [type, value] of Object.entries(TYPES)) {
        if (takes.includes(type)) assert.doesNotThrow(() => shape.read(value, "body"));
        else refuses(shape, value, BAD);
      }
      if (name !== "json") refuses(shape, undefined, BAD);
    });
  }

  it("refuse values out of range with M_INVALID_PARAM", () => {
    refuses(integer({ min: 1, max: 3 }), 0, INVALID);
    refuses(integer({ min: 1, max: 3 }), 4, INVALID);
    refuses(integer(), 2 ** 53, INVALID);
    refuses(integer(), fromJson("1152921504606846976"), INVALID);
    refuses(number({ min: 0, max: 1 }), 1.1, INVALID);
    refuses(oneOf("a", "b"), "c", INVALID);
    refuses(text({ maxBytes: 3 }), "éé", INVALID);
    refuses(text({ minBytes: 1, maxBytes: 3 }), "", INVALID);
    refuses(array(string, { max: 1 }), ["a", "b"], INVALID);
    assert.equal(integer({ min: 1, max: 3 }).read(3, ""), 3);
    assert.equal(number({ min: 0, max: 1 }).read(0.5, ""), 0.5);
  });

  it("read numbers by their value, however they are spelled", () => {
    assert.equal(integer().read(fromJson("1.0"), ""), 1);
    assert.equal(integer().read(fromJson("1e2"), ""), 100);
    assert.equal(number().read(fromJson("0.50"), ""), 0.5);
  });

  it("tell the place that is wrong, and not the value", () => {
    const shape = object({ a: object({ list: array(object({ n: integer({ max: 5 }) })) }) });
    refuses(shape, { a: { list: [{ n: 1 }, { n: "secret" }] } }, BAD, "body.a.list[1].n:");
    refuses(shape, { a: { list: [{}] } }, MISSING, "body.a.list[0].n is missing");
    refuses(shape, { a: { list: [{ n: 9 }] } }, INVALID, "body.a.list[0].n:");
    refuses(map(oneOf("k"), string), { secret: "v" }, INVALID, "a key of body");
    refuses(map(string, string), { k: 1 }, BAD, "body.k:");
    try {
      shape.read({ a: { list: [{ n: "secret" }] } }, "body");
    } catch (error) {
      assert.ok(error instanceof MatrixError && !error.message.includes("secret"));
    }
  });

  it("leave absent keys absent, and unknown keys behind", () => {
    const shape = object({
      needed: string,
      maybe: optional(string),
      orNull: nullable(string),
      filled: withDefault(integer(), 7),
    });
    assert.deepEqual(shape.read({ needed: "x", unknown: 1, orNull: null }, "body"), {
      needed: "x",
      filled: 7,
    });
    assert.deepEqual(shape.read({ needed: "x", maybe: "y", orNull: "z", filled: 1 }, "body"), {
      needed: "x",
      maybe: "y",
      orNull: "z",
      filled: 1,
    });
    refuses(shape, {}, MISSING, "body.needed");
    refuses(shape, { needed: "x", maybe: null }, BAD, "body.maybe");
    refuses(shape, { needed: null }, BAD, "body.needed");
  });

  it("never read what an object inherits", () => {
    const shape = object({ constructor: optional(json), toString: optional(json) });
    assert.deepEqual(Object.keys(shape.read({}, "body")), []);
    refuses(object({ hasOwnProperty: json }), {}, MISSING);
    const polluting = fromJson('{"__proto__":{"admin":true},"a":"b"}');
    assert.deepEqual(object({ admin: optional(boolean), a: string }).read(polluting, ""), {
      a: "b",
    });
    assert.deepEqual([...map(string, json).read(polluting, "").keys()], ["__proto__", "a"]);
  });

  it("can be refined, and stay optional", () => {
    const upper = refine(string, (value) => value.toUpperCase());
    assert.equal(upper.read("a", ""), "A");
    const shape = object({ a: refine(optional(string), (value) => value ?? "none") });
    assert.deepEqual(shape.read({}, ""), { a: "none" });
  });

  it("read query parameters", () => {
    assert.equal(queryInteger().read("-12", ""), -12);
    for (const value of ["", "1.5", "1e2", " 1", "0x1", "12345678901234567", "NaN", "1\n"]) {
      refuses(queryInteger(), value, INVALID);
    }
    refuses(queryInteger({ min: 0 }), "-1", INVALID);
    refuses(queryInteger(), "9999999999999999", INVALID);
    assert.equal(queryBoolean.read("true", ""), true);
    assert.equal(queryBoolean.read("false", ""), false);
    for (const value of ["", "1", "TRUE"]) refuses(queryBoolean, value, INVALID);
    assert.deepEqual(queryList(string).read("a", ""), ["a"]);
    assert.deepEqual(queryList(string).read(["a", "b"], ""), ["a", "b"]);
    refuses(queryList(string, { max: 1 }), ["a", "b"], INVALID);
    refuses(queryInteger(), ["1", "2"], BAD);
  });
});
