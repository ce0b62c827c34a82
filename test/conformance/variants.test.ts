import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { loadFacts } from "../spec-facts/facts.ts";
import { violations } from "../spec-facts/schema.ts";
import { sample } from "./samples.ts";
import { variantsOf } from "./variants.ts";

const { operations, definitions } = loadFacts("client-server");

const withBodies = operations.flatMap((operation) => {
  const schema = operation.body?.content["application/json"];
  const examples = operation.body?.examples ?? [];
  return schema === undefined ? [] : [{ id: operation.id, schema, examples }];
});

test("a sample satisfies its schema", () => {
  for (const { id, schema } of withBodies) {
    assert.deepEqual(violations(sample(schema, definitions), schema, definitions, id), []);
  }
});

test("a documented body satisfies its schema", () => {
  const wrong = withBodies.flatMap(({ id, schema, examples }) =>
    examples.flatMap((example) => violations(example, schema, definitions, id)),
  );
  assert.deepEqual(wrong, []);
});

suite("a variant of a documented body violates its schema at the place that was changed", () => {
  for (const { id, schema, examples } of withBodies) {
    test(id, () => {
      for (const example of examples) {
        const { missing, mistyped, misvalued } = variantsOf(example, schema, definitions);
        for (const { place, change, body } of [...missing, ...mistyped, ...misvalued]) {
          const [found, ...more] = violations(body, schema, definitions, "body");
          assert.ok(found !== undefined, `${place} ${change}`);
          assert.deepEqual(more, []);
        }
      }
    });
  }
});
