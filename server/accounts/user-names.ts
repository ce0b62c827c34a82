/** Names of new accounts: https://spec.matrix.org/v1.19/appendices/#user-identifiers */
import { MatrixError } from "../../spec/errors.ts";
import { isNewUserId, type UserId } from "../../spec/identifiers.ts";
import type { Random } from "./tokens.ts";

const NAME_CHARS = 12;

/** @throws MatrixError M_INVALID_USERNAME for what no new account may be called */
export function newUserId(username: string, serverName: string): UserId {
  const userId = `@${username}:${serverName}`;
  // The grammar has no colon, so that nobody names another domain.
  if (isNewUserId(userId)) return userId;
  throw new MatrixError(
    "M_INVALID_USERNAME",
    "A user name has small letters, digits and . _ = - / + only, and is not too long",
  );
}

export function inUse(): MatrixError {
  return new MatrixError("M_USER_IN_USE", "The user name is taken");
}

/** A name of small letters, which nobody has. */
export function newName(random: Random): string {
  return Array.from(random(NAME_CHARS), (byte) => String.fromCharCode(97 + (byte % 26))).join("");
}
