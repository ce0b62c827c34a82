import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { startServer } from "../fixtures/homeserver.ts";
import { COVERAGE_URL, renderCoverage } from "./coverage.ts";

test("docs/coverage.md says what is served", async () => {
  await using server = await startServer();
  assert.ok(
    renderCoverage(server.routes) === readFileSync(COVERAGE_URL, "utf8"),
    "it is out of date: node test/spec-facts/coverage.ts",
  );
});
