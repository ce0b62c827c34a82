/** What a client does when a server asks it to authenticate. */
import assert from "node:assert/strict";
import { MatrixError } from "matrix-js-sdk";
import { textAt } from "../fixtures/json.ts";

/** The reason that a promise is rejected with, which it must be. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (reason) {
    return reason;
  }
  throw new Error("it should have failed");
}

/** The session that a server opened when it asked for authentication. */
export function sessionOf(failure: unknown): string {
  assert.ok(failure instanceof MatrixError, `an answer of the server, not ${String(failure)}`);
  return textAt(failure.data, "session");
}
