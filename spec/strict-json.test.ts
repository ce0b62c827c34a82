import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { MatrixError } from "./errors.ts";
import { isObject } from "./shape.ts";
import { JsonNumber, parseJson, parseStored, type ParseOptions } from "./strict-json.ts";

function parse(json: string | Uint8Array, options: Partial<ParseOptions> = {}): unknown {
  return parseJson(Buffer.from(json), { maxDepth: 100, ...options });
}

function refuses(json: string | Uint8Array, errcode: string, options: Partial<ParseOptions> = {}) {
  assert.throws(
    () => parse(json, options),
    (error) => error instanceof MatrixError && error.errcode === errcode,
    `${JSON.stringify(String(json).slice(0, 60))} should be refused with ${errcode}`,
  );
}

/** `[[…[]…]]` */
function nested(depth: number): string {
  return "[".repeat(depth) + "]".repeat(depth);
}

describe("parseJson", () => {
  it("gives what JSON.parse gives for JSON that is strict", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.boolean(), (value, isIndented) => {
        const json = JSON.stringify(value, null, isIndented ? 2 : 0);
        fc.pre(json.isWellFormed() && !/\\ud[89a-f]/.test(json));
        assert.equal(JSON.stringify(parse(json)), JSON.stringify(JSON.parse(json)));
      }),
    );
  });

  it("refuses what JSON.parse refuses, and never fails otherwise", () => {
    const parts = `[ ] { } , : 1 - .5 e2 " "a" "a": null tru \\ \\u d8 \0`.split(" ");
    const tokens = fc.constantFrom(...parts, " ");
    fc.assert(
      fc.property(fc.array(tokens, { maxLength: 12 }), (some) => {
        const json = some.join("");
        let isJson = true;
        try {
          JSON.parse(json);
        } catch {
          isJson = false;
        }
        if (isJson) return;
        refuses(json, "M_NOT_JSON");
      }),
      { numRuns: 2000 },
    );
  });

  it("V008: refuses bytes that are no UTF-8, wherever they stand", () => {
    const bad = [
      [0x22, 0xff, 0x22],
      [0x22, 0xc0, 0x80, 0x22], // overlong
      [0x22, 0xed, 0xa0, 0x80, 0x22], // a surrogate
      [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], // beyond U+10FFFF
      [0x22, 0xe2, 0x82, 0x22], // cut short
    ];
    for (const bytes of bad) refuses(Uint8Array.from(bytes), "M_NOT_JSON");
    refuses(Uint8Array.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), "M_NOT_JSON");
  });

  it("refuses a byte order mark, an empty body, and more than one value", () => {
    for (const json of ["\ufeff{}", "", " ", "{}{}", "{},", "nul", "{a:1}", "[1,]", "NaN", "01"]) {
      refuses(json, "M_NOT_JSON");
    }
  });

  it("V007: refuses duplicate keys, however they are written", () => {
    const duplicates = [
      '{"a":1,"a":2}',
      '{"a":1,"a":1}',
      '{"a":1,"\\u0061":2}',
      '{"":1,"":2}',
      '{"x":{"b":[{"sender":"@a:b","sender":"@c:d"}]}}',
      '{"__proto__":1,"__proto__":2}',
      '{"1":1,"1":2}',
      '{"😀":1,"\\ud83d\\ude00":2}',
    ];
    for (const json of duplicates) refuses(json, "M_BAD_JSON");
    assert.deepEqual(parse('{"a":{"a":1},"b":{"a":":,{}[]"}}'), {
      a: { a: 1 },
      b: { a: ":,{}[]" },
    });
  });

  it("refuses lone surrogates, and lets pairs through", () => {
    const lone = [
      '"\\ud800"',
      '"\\uDFFF"',
      '"\\udc00\\ud800"',
      '"\\ud800\\ud800\\udc00"',
      '"\\ud800x\\udc00"',
      '"\\ud800\\\\udc00"',
      '{"\\udbff":1}',
    ];
    for (const json of lone) refuses(json, "M_BAD_JSON");
    assert.equal(parse('"\\ud83d\\ude00\\uD83D\\uDE00"'), "😀😀");
    assert.equal(parse('"\\\\ud800 \\u0064800 \\ud7ff\\ue000"'), "\\ud800 d800 \ud7ff\ue000");
  });

  it("V011: bounds the depth of nesting, for arrays and objects alike", () => {
    assert.deepEqual(parse(nested(100)), JSON.parse(nested(100)));
    refuses(nested(101), "M_BAD_JSON");
    refuses('{"a":'.repeat(101) + "1" + "}".repeat(101), "M_BAD_JSON");
    refuses("[".repeat(60 * 1024), "M_BAD_JSON");
    refuses(nested(200_000), "M_BAD_JSON");
    assert.doesNotThrow(() => parse(nested(900), { maxDepth: 900 }));
    assert.doesNotThrow(() => parse(`${"[".repeat(900)}1.0${"]".repeat(900)}`, { maxDepth: 900 }));
    refuses(nested(901), "M_BAD_JSON", { maxDepth: 900 });
    // Brackets in strings and beside each other nest nothing.
    assert.doesNotThrow(() => parse(`["${"[".repeat(500)}"${",[]".repeat(500)}]`));
  });

  it("V004: knows each number that canonical JSON has not, by its spelling", () => {
    const small = ["1.5", "1.0", "1e2", "1E2", "0.0", "-0", "-0.0", "1e-1"];
    const large = ["1e400", "9007199254740992", "-9007199254740992", "1152921504606846976"];
    for (const number of small.concat(large)) {
      refuses(number, "M_BAD_JSON", { numbers: "integers" });
      refuses(`{"a":[0,${number} ]}`, "M_BAD_JSON", { numbers: "integers" });
    }
    for (const number of ["0", "-1", "9007199254740991", "-9007199254740991", "1234567890123456"]) {
      assert.equal(parse(number, { numbers: "integers" }), Number(number));
    }
    assert.equal(parse('"1.5 1e2 -0"', { numbers: "integers" }), "1.5 1e2 -0");
  });

  it("keeps the text of a number that a double would write otherwise", () => {
    const json = '{"a":[1.0,-0,1e2,12345678901234567890,1e400,0.1,-7],"b":9007199254740992}';
    const value = parse(json);
    assert.equal(JSON.stringify(value), json);
    assert.equal(JSON.stringify(parseStored(json)), json);
    assert.ok(isObject(value) && Array.isArray(value["a"]));
    const [one, , , , infinite, tenth] = value["a"];
    assert.ok(one instanceof JsonNumber && one.valueOf() === 1);
    assert.ok(infinite instanceof JsonNumber && infinite.valueOf() === Infinity);
    assert.equal(tenth, 0.1);
  });

  it("reads keys with escapes as they are, whatever keys were read before", () => {
    // The engine's own parser takes each of the second keys for the first one.
    const pairs = [
      ['"\\\\"', '"\\n"', "\n"],
      ['"\\\\n"', '"\\nx"', "\nx"],
      ['"a\\\\"', '"a\\u0062"', "ab"],
      ['"s\\\\u006"', '"s\\u0065nder"', "sender"],
    ] as const;
    for (const [before, escaped, key] of pairs) {
      for (let i = 0; i < 3; i++) JSON.parse(`{"k":1,${before}:1}`);
      const json = `{"k":1,${escaped}:1}`;
      assert.deepEqual(Object.keys(parse(json) as object), ["k", key]);
      assert.deepEqual(Object.keys(parseStored(json) as object), ["k", key]);
    }
  });

  it("gives back any value that it was given as text", () => {
    const texts = fc.oneof(fc.string({ unit: "binary", maxLength: 4 }), fc.string());
    const { value: values } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: "small" },
        fc.oneof(texts, fc.double(), fc.maxSafeInteger(), fc.boolean(), fc.constant(null)),
        fc.array(tie("value"), { maxLength: 4 }),
        fc.dictionary(texts, tie("value"), { maxKeys: 6 }),
      ),
    }));
    fc.assert(
      fc.property(values, fc.constantFrom("", "  ", "\t"), (value, indent) => {
        const json = JSON.stringify(value, null, indent);
        assert.equal(JSON.stringify(parse(json), null, indent), json);
        assert.equal(JSON.stringify(parseStored(json), null, indent), json);
        // The same with a number that makes the slower reader read it.
        assert.equal(JSON.stringify(parse(`[1.0,${json}]`)), `[1.0,${JSON.stringify(value)}]`);
      }),
      { numRuns: 500 },
    );
  });

  it("never takes a number for an object", () => {
    assert.equal(isObject(parse("1.0")), false);
  });

  it("makes `__proto__` a key like any other", () => {
    for (const json of ['{"__proto__":{"admin":true}}', '{"__proto__":{"admin":true},"n":1.0}']) {
      const value = parse(json);
      assert.equal(Object.getPrototypeOf(value), Object.prototype);
      assert.deepEqual(Object.keys(value as object)[0], "__proto__");
      assert.equal((value as { admin?: boolean }).admin, undefined);
    }
    assert.equal(({} as { admin?: boolean }).admin, undefined);
  });

  it("V010: keeps U+0000", () => {
    assert.deepEqual(parse('{"a\\u0000":"\\u0000"}'), { "a\0": "\0" });
    refuses('"\0"', "M_NOT_JSON");
  });

  it("reads a part of a larger buffer, and any Uint8Array", () => {
    const buffer = Buffer.from('xx{"a":"é"}xx');
    assert.deepEqual(parseJson(buffer.subarray(2, -2), { maxDepth: 1 }), { a: "é" });
    assert.deepEqual(parseJson(new TextEncoder().encode("[1]"), { maxDepth: 1 }), [1]);
  });
});
