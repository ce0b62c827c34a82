/** What a server checks of state that its own users set, beyond what the auth rules ask. */
import { MatrixError } from "../../spec/errors.ts";
import type { ServerName } from "../../spec/identifiers.ts";
import { type PowerLevelRules, readLevel } from "../../spec/power-levels.ts";
import { compileServerAcl } from "../../spec/server-acl.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";

const LEVELS = [
  "users_default",
  "events_default",
  "state_default",
  "ban",
  "redact",
  "kick",
  "invite",
];
const MAPS_OF_LEVELS = ["users", "events", "notifications"];

/** @throws MatrixError M_BAD_JSON for levels that servers read differently, M_INVALID_PARAM for an ACL */
export function checkState(
  { type, content }: { type: string; content: JsonObject },
  { version, serverName }: { version: PowerLevelRules; serverName: ServerName },
): void {
  if (type === "m.room.power_levels") checkLevels(content, version);
  if (type === "m.room.server_acl" && !compileServerAcl(content)(serverName)) {
    throw new MatrixError("M_INVALID_PARAM", "the ACL would deny this server");
  }
}

/**
 * The aliases that an `m.room.canonical_alias` event names.
 *
 * @throws MatrixError M_INVALID_PARAM
 */
export function aliasesIn(content: JsonObject): unknown[] {
  const { alias, alt_aliases: alternatives = [] } = content;
  if (!Array.isArray(alternatives)) {
    throw new MatrixError("M_INVALID_PARAM", "alt_aliases: expected an array");
  }
  const others: unknown[] = alternatives;
  return alias === undefined || alias === null || alias === "" ? others : [alias, ...others];
}

/** The auth rules let the first power levels pass unseen, and before version 10 what is no level too. */
function checkLevels(content: JsonObject, version: PowerLevelRules): void {
  for (const key of LEVELS) {
    if (Object.hasOwn(content, key)) checkLevel(key, content[key], version);
  }
  for (const key of MAPS_OF_LEVELS) {
    const map = content[key];
    if (map === undefined) continue;
    if (!isObject(map)) throw new MatrixError("M_BAD_JSON", `${key}: not an object of levels`);
    for (const level of Object.values(map)) checkLevel(key, level, version);
  }
}

function checkLevel(key: string, level: unknown, version: PowerLevelRules): void {
  if (readLevel(level, version) !== undefined) return;
  throw new MatrixError("M_BAD_JSON", `${key}: not a power level`);
}
