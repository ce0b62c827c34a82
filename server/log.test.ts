import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog, noteRequest, withRequest } from "./log.ts";

function logged(
  format: "json" | "text",
  write: (log: ReturnType<typeof createLog>) => void,
): string {
  let text = "";
  write(createLog({ format }, { write: (line) => (text += line) }));
  return text;
}

test("a line is JSON, with level and time in words", () => {
  const text = logged("json", (log) => log.info({ user: "@a:b" }, "hello"));
  const { level, time, msg, user } = JSON.parse(text) as Record<string, string>;
  assert.deepEqual([level, msg, user], ["info", "hello", "@a:b"]);
  assert.match(time ?? "", /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
});

test("a line that is logged for a request bears its trace id", async () => {
  let text = "";
  const log = createLog({}, { write: (line) => (text += line) });
  const note = { traceId: "abc", fields: undefined };
  await withRequest(note, async () => {
    await Promise.resolve();
    noteRequest({ n: 1 });
    noteRequest({ m: 2 });
    log.info("inside");
  });
  log.info("outside");
  const [inside, outside] = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as object);
  assert.equal(Reflect.get(inside ?? {}, "traceId"), "abc");
  assert.equal(Reflect.has(outside ?? {}, "traceId"), false);
  assert.deepEqual(note.fields, { n: 1, m: 2 });
});

test("an error is logged with its causes, without the members that quote rows", () => {
  const root = Object.assign(new Error("duplicate key"), {
    code: "23505",
    detail: "Key (a)=(planted)",
  });
  const cycle = new Error("cycle");
  cycle.cause = cycle;
  const text = logged("json", (log) => {
    log.error({ err: new TypeError("outer", { cause: root }) }, "failed");
    log.error({ err: cycle }, "failed");
    log.error({ err: "text" }, "failed");
  });
  assert.doesNotMatch(text, /planted/);
  const [first] = text.split("\n");
  assert.match(first ?? "", /"type":"TypeError".*"causes":\[\{.*"code":"23505"/);
});

for (const format of ["json", "text"] as const) {
  test(`S13: as ${format}, what a client sends cannot begin a line or steer a terminal`, () => {
    const evil = "x\r\n2026 error: forged \u001b[31m\u0007 \u009b31m\u007f";
    const text = logged(format, (log) => log.info({ agent: evil }, "request"));
    assert.equal(text.match(/\n/g)?.length, 1);
    const controls = ["\r", "\u0007", "\u001b", ...(format === "text" ? ["\u007f", "\u009b"] : [])];
    for (const control of controls) assert.equal(text.includes(control), false);
  });
}

test("as text, a line is for people: time, message, fields, and the stacks of an error", () => {
  const text = logged("text", (log) => {
    log.info({ status: 200, path: "/a b" }, "request");
    log.error({ err: new Error("outer", { cause: new Error("inner") }) }, "failed");
  });
  const [first = "", ...rest] = text.split("\n");
  assert.match(first, /^\d\d:\d\d:\d\d request status=200 path="\/a b"$/);
  assert.match(rest.join("\n"), /error: failed\n {2}Error: outer\n[^]*\n {2}Error: inner\n/);
});
