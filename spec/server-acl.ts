/** Server ACLs: https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms */
import { compileGlob } from "./glob.ts";
import { type ServerName, splitPort } from "./identifiers.ts";
import type { JsonObject } from "./shape.ts";

/**
 * Compiles the content of an `m.room.server_acl` event.
 *
 * @returns whether a server may take part; names are compared without their port and in lower case
 */
export function compileServerAcl(content: JsonObject): (serverName: ServerName) => boolean {
  const allow = globs(content["allow"]);
  const deny = globs(content["deny"]);
  const allowsIpLiterals = content["allow_ip_literals"] !== false;
  return (serverName) => {
    const host = splitPort(serverName).host.toLowerCase();
    if (!allowsIpLiterals && (host.startsWith("[") || /^\d+\.\d+\.\d+\.\d+$/.test(host))) {
      return false;
    }
    if (deny.some((glob) => glob(host))) return false;
    return allow.some((glob) => glob(host));
  };
}

function globs(value: unknown): ((host: string) => boolean)[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((pattern) => {
    if (typeof pattern !== "string") return [];
    const glob = compileGlob(pattern.toLowerCase());
    return [(host: string) => glob.matches(host)];
  });
}
