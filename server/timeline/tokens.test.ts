import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareOrder } from "../../storage/events.ts";
import { timelineToken, writeTimelineToken } from "./tokens.ts";

test("a place in a timeline reads back as it was written", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
      fc.integer({ min: -1_000_000, max: 1 }),
      (position, offset) => {
        const token = writeTimelineToken({ position, offset });
        assert.deepEqual(timelineToken.read(token, "from"), { position, offset });
      },
    ),
  );
});

test("a token of /sync is the place after all that it told of", () => {
  const order = timelineToken.read("s1_a_0.0_0.0", "from");
  assert.ok(compareOrder(order, { position: 10, offset: 0 }) > 0);
  assert.ok(compareOrder(order, { position: 11, offset: -5 }) < 0);
});

test("V155: what is no token is refused as M_INVALID_PARAM", () => {
  for (const token of [
    "",
    "t",
    "t1",
    "t1_",
    "t-1_0",
    "t1_0_",
    "s",
    "s1_",
    "x1_2",
    "tzzzzzzzzzzzz_0",
  ]) {
    assert.throws(() => timelineToken.read(token, "from"), { errcode: "M_INVALID_PARAM" }, token);
  }
});
