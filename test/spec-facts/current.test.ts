import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { type ApiName, loadFacts, tableUrl } from "./facts.ts";
import { APIS, DEFAULT_ROOT, render } from "./generate.ts";
import { readResponseExamples, readSpec } from "./read-spec.ts";
import { violations } from "./schema.ts";

const skip = existsSync(DEFAULT_ROOT) ? false : `there is no specification at ${DEFAULT_ROOT}`;

/** Responses of the specification that do not satisfy its own schemas. */
const WRONG_EXAMPLES: Record<ApiName, readonly string[]> = {
  "client-server": ["getProtocols 200.gitter: lacks icon"],
  "server-server": [],
};

for (const api of APIS) {
  suite(`the table of ${api}`, () => {
    test("is what the specification says", { skip }, () => {
      const table = readFileSync(tableUrl(api), "utf8");
      // Not by assert: the difference of two such texts is nothing that one reads.
      assert.ok(
        render(readSpec(DEFAULT_ROOT, api)) === table,
        "the table is out of date: npm run spec-facts",
      );
    });

    test("holds schemas that the documented responses satisfy", { skip }, () => {
      const { operations, definitions } = loadFacts(api);
      const wrong = readResponseExamples(DEFAULT_ROOT, api).flatMap(
        ({ operation: id, status, example }) => {
          const operation = operations.find((o) => o.id === id);
          const schema = operation?.responses[status]?.content["application/json"];
          assert.ok(schema !== undefined, `${id} ${status}`);
          return violations(example, schema, definitions, `${id} ${status}`);
        },
      );
      assert.deepEqual(wrong, WRONG_EXAMPLES[api]);
    });
  });
}
