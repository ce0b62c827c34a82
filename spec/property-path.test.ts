import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { parsePropertyPath, propertyAt } from "./property-path.ts";

describe("a dot-separated property path", () => {
  const table: [string, string[]][] = [
    ["type", ["type"]],
    ["content.body", ["content", "body"]],
    ["content.m\\.relates_to", ["content", "m.relates_to"]],
    ["content.m\\\\foo", ["content", "m\\foo"]],
    ["content.m\\xfoo", ["content", "m\\xfoo"]],
    ["content.m\\\\.foo", ["content", "m\\", "foo"]],
    ["content.", ["content", ""]],
    ["", [""]],
    ["\\", ["\\"]],
    ["a..b", ["a", "", "b"]],
  ];
  for (const [path, names] of table) {
    it(`${path} names ${JSON.stringify(names)}`, () => {
      assert.deepEqual(parsePropertyPath(path), names);
    });
  }

  it("gives back the names that were escaped into it", () => {
    const name = fc.string({ unit: fc.constantFrom("a", ".", "\\") });
    fc.assert(
      fc.property(fc.array(name, { minLength: 1 }), (names) => {
        const path = names.map((n) => n.replaceAll(/[.\\]/g, "\\$&")).join(".");
        assert.deepEqual(parsePropertyPath(path), names);
      }),
    );
  });

  it("finds own properties only", () => {
    const event = { content: { body: "b", list: ["x"], nothing: null } };
    assert.equal(propertyAt(event, ["content", "body"]), "b");
    assert.equal(propertyAt(event, ["content", "nothing"]), null);
    assert.equal(propertyAt(event, ["content", "nothing", "more"]), undefined);
    assert.equal(propertyAt(event, ["content", "list", "0"]), undefined);
    assert.equal(propertyAt(event, ["content", "body", "length"]), undefined);
    assert.equal(propertyAt(event, ["content", "constructor"]), undefined);
    assert.equal(propertyAt(event, ["__proto__"]), undefined);
  });
});
