/** Holds `docs/security-cases.md` to the tests that it names. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);
/** A case and the rest of its row, whose files are named as `path/to/x.test.ts`. */
const ROW = /^\| ([VS]\d{2,3}) +\|.*\|(.*)\|$/gm;

test("each file that the table of security cases names has a test by the case's number", async () => {
  const table = await readFile(new URL("docs/security-cases.md", root), "utf8");
  const rows = [...table.matchAll(ROW)];
  assert.ok(rows.length > 100);
  const wrong: string[] = [];
  for (const [, id = "", place = ""] of rows) {
    const as = / as ([VS]\d{2,3})/.exec(place)?.[1] ?? id;
    const files = [...place.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, file = ""]) => file);
    if (files.length === 0 && !/not yet|not a test/.test(place))
      wrong.push(`${id}: no test, no why`);
    for (const file of files) {
      const text = await readFile(new URL(file, root), "utf8").catch(() => "");
      const isWalk = file.startsWith("test/conformance/") || file.startsWith("test/crash/");
      if (isWalk ? text === "" : !new RegExp(`\\b${as}[:,]`).test(text))
        wrong.push(`${id}: ${file}`);
    }
  }
  assert.deepEqual(wrong, []);
});
