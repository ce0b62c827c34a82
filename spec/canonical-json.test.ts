import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { canonicalJson, compareCodePoints } from "./canonical-json.ts";
import { MatrixError } from "./errors.ts";
import { parseJson } from "./strict-json.ts";

type Vectors = Record<string, { json: string; canonical: string }[]>;
const vectors: Vectors = JSON.parse(
  readFileSync(new URL("vectors/canonical-json.json", import.meta.url), "utf8"),
);

const LOSSLESS = { numbers: "lossless" } as const;

function parse(json: string): unknown {
  return parseJson(Buffer.from(json), { maxDepth: 900 });
}

/** JSON values that canonical JSON has a form for. */
const canonical = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.oneof(
      fc.constantFrom(null, true, false),
      fc.maxSafeInteger(),
      fc.string({ unit: "binary" }),
    ),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(fc.string({ unit: "binary", maxLength: 4 }), tie("value"), { maxKeys: 6 }),
  ),
})).value;

function refuses(value: unknown, options = {}): void {
  assert.throws(
    () => canonicalJson(value, options),
    (error) => error instanceof MatrixError && error.errcode === "M_BAD_JSON",
  );
}

describe("canonicalJson", () => {
  for (const [name, cases] of Object.entries(vectors)) {
    it(`gives the vectors of the ${name}`, () => {
      const options = name.includes("numbers") ? LOSSLESS : {};
      for (const { json, canonical: expected } of cases) {
        assert.equal(canonicalJson(parse(json), options), expected);
      }
    });
  }

  it("reads back as what was written", () => {
    fc.assert(
      fc.property(canonical, (value) => {
        const read: unknown = JSON.parse(canonicalJson(value));
        // -0 is written as 0
        assert.equal(JSON.stringify(sorted(read)), JSON.stringify(sorted(value)));
      }),
    );
  });

  it("writes what it has written in the same way", () => {
    fc.assert(
      fc.property(canonical, (value) => {
        const text = canonicalJson(value);
        assert.equal(canonicalJson(parse(text)), text);
        assert.equal(canonicalJson(parse(text), LOSSLESS), text);
      }),
    );
  });

  it("does not depend on the order in which keys were set", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ unit: "binary", maxLength: 3 }), { maxLength: 10 }),
        fc.infiniteStream(fc.nat()),
        (keys, random) => {
          const shuffled = keys.toSorted(() => (random.next().value % 2 === 0 ? 1 : -1));
          const a = Object.fromEntries(keys.map((key) => [key, 1]));
          const b = Object.fromEntries(shuffled.map((key) => [key, 1]));
          assert.equal(canonicalJson(a), canonicalJson(b));
        },
      ),
    );
  });

  it("V004: refuses fractions, large integers and odd spellings", () => {
    for (const json of ["1.5", "1.0", "1e2", "9007199254740992", "-9007199254740992", "1e400"]) {
      refuses(parse(json));
      refuses(parse(`{"a":[${json}]}`));
    }
    for (const number of [0.5, 2 ** 53, -(2 ** 53), NaN, Infinity]) refuses(number);
    for (const number of [NaN, -Infinity]) refuses(number, LOSSLESS);
  });

  it("V004: writes -0 that arithmetic made as 0", () => {
    assert.equal(canonicalJson(-0), "0");
  });

  it("refuses lone surrogates, in values and in keys", () => {
    for (const text of ["\ud800", "\udc00\ud800", "a\ud83d"]) {
      refuses(text);
      refuses({ [text]: 1 });
    }
  });

  it("refuses what is no JSON", () => {
    const values = [undefined, Symbol("x"), () => 1, 1n, new Date(), new Map(), Buffer.alloc(1)];
    for (const value of values) {
      refuses(value);
      refuses({ a: value });
      refuses([value]);
    }
    assert.equal(canonicalJson(Object.assign(Object.create(null), { a: 1 })), '{"a":1}');
  });

  it("V011: takes 900 levels and refuses more, without an overflow of the stack", () => {
    const nest = (depth: number): unknown => {
      let value: unknown = [];
      for (let i = 1; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
      return value;
    };
    assert.equal(JSON.stringify(nest(900)), canonicalJson(nest(900)));
    refuses(nest(901));
    refuses(nest(100_000));
  });
});

describe("compareCodePoints", () => {
  it("V005: orders as the bytes of UTF-8 are ordered", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (a, b) => {
        const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
        assert.equal(Math.sign(compareCodePoints(a, b)), expected);
      }),
      { numRuns: 1000 },
    );
    assert.ok(compareCodePoints("\ufb01", "\u{10000}") < 0);
    assert.ok(["\ufb01", "\u{10000}"].toSorted()[0] === "\u{10000}");
  });
});

/** The value with the keys of objects in one order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return Object.is(value, -0) ? 0 : value;
  return Object.entries(value)
    .map(([key, member]) => [key, sorted(member)])
    .toSorted(([a], [b]) => (String(a) < String(b) ? -1 : 1));
}
