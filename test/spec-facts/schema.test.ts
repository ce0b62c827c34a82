import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Schema } from "./facts.ts";
import { violations } from "./schema.ts";

const DEFINITIONS = {
  event: {
    type: "object",
    properties: { event_id: { type: "string", format: "mx-event-id", pattern: "^\\$" } },
    required: ["event_id"],
  },
} satisfies Record<string, Schema>;

const CASES: { title: string; schema: Schema; good: unknown[]; bad: [unknown, string][] }[] = [
  {
    title: "a type",
    schema: { type: "integer" },
    good: [0, -3, 2 ** 53 - 1],
    bad: [
      [1.5, "value: expected integer, found 1.5"],
      ["1", 'value: expected integer, found "1"'],
      [2 ** 60, "value: expected integer, found 1152921504606847000"],
      [null, "value: expected integer, found null"],
    ],
  },
  {
    title: "one of several types",
    schema: { type: ["string", "null"] },
    good: ["", null],
    bad: [[[], "value: expected string or null, found []"]],
  },
  {
    title: "a number, whole or not",
    schema: { type: "number" },
    good: [1, 0.5],
    bad: [["0.5", 'value: expected number, found "0.5"']],
  },
  {
    title: "keys that must be there, and what they hold",
    schema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] },
    good: [{ n: 1 }, { n: 1, other: true }],
    bad: [
      [{}, "value: lacks n"],
      [{ n: true }, "value.n: expected integer, found true"],
      [[], "value: expected object, found []"],
    ],
  },
  {
    title: "a map by the pattern of its keys",
    schema: { type: "object", patternProperties: { "^@": { type: "boolean" } } },
    good: [{}, { "@a:x": true }],
    bad: [
      [{ a: true }, 'value: has the unexpected key "a"'],
      [{ "@a:x": 1 }, 'value["@a:x"]: expected boolean, found 1'],
    ],
  },
  {
    title: "a map of any keys",
    schema: { type: "object", additionalProperties: { type: "string" } },
    good: [{}, { a: "" }],
    bad: [[{ a: 1 }, "value.a: expected string, found 1"]],
  },
  {
    title: "an object that is closed",
    schema: { type: "object", properties: { a: {} }, additionalProperties: false },
    good: [{ a: 1 }],
    bad: [[{ b: 1 }, 'value: has the unexpected key "b"']],
  },
  {
    title: "items, and how many",
    schema: { type: "array", items: { type: "string" }, minItems: 1, maxItems: 2 },
    good: [["a"], ["a", "b"]],
    bad: [
      [[], "value: has 0 items, not 1 to 2"],
      [["a", 1], "value[1]: expected string, found 1"],
    ],
  },
  {
    title: "items by their place",
    schema: { type: "array", items: [{ type: "integer" }, { type: "string" }] },
    good: [[200, "a"]],
    bad: [[[200, 1], "value[1]: expected string, found 1"]],
  },
  {
    title: "an enumeration",
    schema: { type: "string", enum: ["public", "private"] },
    good: ["public"],
    bad: [["open", 'value: expected one of public, private, found "open"']],
  },
  {
    title: "exactly one of several schemas",
    schema: { oneOf: [{ type: "string" }, { type: "object", required: ["key"] }] },
    good: ["", { key: 1 }],
    bad: [
      [{}, "value: fits none of 2 alternatives; of the nearest: value: expected string, found {}"],
    ],
  },
  {
    title: "any of several schemas",
    schema: { anyOf: [{ type: "string" }, { enum: ["a", 1] }] },
    good: ["a", "b", 1],
    bad: [
      [2, "value: fits none of 2 alternatives; of the nearest: value: expected string, found 2"],
    ],
  },
  {
    title: "an identifier of Matrix, behind a name",
    schema: { type: "array", items: { $ref: "event" } },
    good: [[{ event_id: "$abc" }]],
    bad: [
      [[{ event_id: "abc" }], 'value[0].event_id: does not match ^\\$: "abc"'],
      [[{ event_id: "$a b" }], 'value[0].event_id: is not a valid mx-event-id: "$a b"'],
    ],
  },
];

suite("a schema of the table tells right values from wrong ones", () => {
  for (const { title, schema, good, bad } of CASES) {
    test(title, () => {
      for (const value of good) assert.deepEqual(violations(value, schema, DEFINITIONS), []);
      for (const [value, message] of bad) {
        assert.deepEqual(violations(value, schema, DEFINITIONS), [message]);
      }
    });
  }
});
