/** Paths that name the user who calls, such as account data, tags and filters. */
import type { Caller } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import type { UserId } from "../spec/identifiers.ts";

/** @throws MatrixError M_FORBIDDEN where a path names somebody else */
export function refuseOthers(caller: Caller, userId: UserId): void {
  if (caller.userId !== userId) {
    throw new MatrixError("M_FORBIDDEN", "The path names another user");
  }
}
