import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { isSameSecret } from "./secrets.ts";

test("S16: secrets are compared as digests of equal length, whatever their lengths", () => {
  assert.ok(isSameSecret("secret", Buffer.from("secret")));
  for (const other of ["", "s", "secre", "secret ", "Secret", "s".repeat(100_000)]) {
    assert.ok(!isSameSecret("secret", other));
  }
});

test("S16: how much of a guess is right does not show in the time", () => {
  const secret = randomBytes(32).toString("hex");
  const early = `x${secret.slice(1)}`;
  const late = `${secret.slice(0, -1)}x`;
  const rounds = 20_000;
  // Interleaved, so that a busy machine slows both; the medians of many small rounds are compared.
  const times: Record<"early" | "late", number[]> = { early: [], late: [] };
  for (let round = 0; round < 200; round += 1) {
    for (const [name, guess] of [
      ["early", early],
      ["late", late],
    ] as const) {
      const start = process.hrtime.bigint();
      for (let i = 0; i < rounds / 200; i += 1) isSameSecret(secret, guess);
      times[name].push(Number(process.hrtime.bigint() - start));
    }
  }
  const median = (list: number[]) => list.toSorted((a, b) => a - b)[list.length / 2] ?? 0;
  const ratio = median(times.early) / median(times.late);
  assert.ok(ratio > 0.8 && ratio < 1.25, `ratio ${ratio}`);
});
