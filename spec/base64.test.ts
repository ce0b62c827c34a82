import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { decodeBase64, decodeBase64Url, encodeBase64, encodeBase64Url } from "./base64.ts";

describe("base64", () => {
  it("gives the vectors of the specification", () => {
    const vectors: [string, string][] = [
      ["", ""],
      ["f", "Zg"],
      ["fo", "Zm8"],
      ["foo", "Zm9v"],
      ["foob", "Zm9vYg"],
      ["fooba", "Zm9vYmE"],
      ["foobar", "Zm9vYmFy"],
    ];
    for (const [text, base64] of vectors) {
      assert.equal(encodeBase64(Buffer.from(text)), base64);
      assert.equal(decodeBase64(base64)?.toString(), text);
      assert.equal(
        decodeBase64(base64.padEnd(Math.ceil(base64.length / 4) * 4, "="))?.toString(),
        text,
      );
    }
  });

  it("reads back what it wrote, in both alphabets", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        assert.deepEqual(decodeBase64(encodeBase64(bytes)), Buffer.from(bytes));
        assert.deepEqual(decodeBase64Url(encodeBase64Url(bytes)), Buffer.from(bytes));
        assert.match(encodeBase64(bytes), /^[A-Za-z0-9+/]*$/);
        assert.match(encodeBase64Url(bytes), /^[A-Za-z0-9_-]*$/);
      }),
    );
  });

  it("S17: refuses what Node's decoder skips", () => {
    const junk = [
      "Z",
      "Zm9vY",
      "Zm 8",
      "Zm8\n",
      "Zm8!",
      "Z=m8",
      "Zm8==",
      "Zg=",
      "Zm9v=",
      "Zm9v====",
      "=",
      "é",
    ];
    for (const text of junk) {
      assert.equal(decodeBase64(text), undefined, text);
      assert.equal(decodeBase64Url(text), undefined, text);
    }
    assert.equal(decodeBase64("_-8"), undefined);
    assert.equal(decodeBase64Url("/+8"), undefined);
  });

  it("lets spare bits through, as those of the specification's own seed", () => {
    assert.deepEqual(decodeBase64("Zh"), Buffer.from("f"));
    assert.deepEqual(decodeBase64Url("Zh=="), Buffer.from("f"));
  });
});
