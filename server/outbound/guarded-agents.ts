/** Connections that go only where the address guard lets them. */
import { lookup as systemLookup, type LookupAddress } from "node:dns";
import { Agent as HttpAgent, type ClientRequestArgs } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { type Duplex, PassThrough } from "node:stream";
import type { AddressGuard } from "./address-guard.ts";

/** Finds all addresses of a host. */
export type Resolve = (
  host: string,
  callback: (error: Error | null, addresses: LookupAddress[]) => void,
) => void;

/** An address, or all addresses of a name, are not to be connected to. */
export class AddressDenied extends Error {
  override readonly name = "AddressDenied";
}

export interface GuardedAgents extends Disposable {
  readonly http: HttpAgent;
  readonly https: HttpsAgent;
}

const bySystem: Resolve = (host, callback) => systemLookup(host, { all: true }, callback);

/** Time in ms after which an unused connection is closed. */
const UNUSED_MS = 60_000;
const MAX_SOCKETS_PER_HOST = 32;
const MAX_UNUSED_PER_HOST = 4;

export function createGuardedAgents(options: {
  guard: AddressGuard;
  resolve: Resolve | undefined;
  rejectUnauthorized: boolean;
  ca: readonly string[] | undefined;
}): GuardedAgents {
  const { guard, resolve = bySystem } = options;
  const pool = {
    keepAlive: true,
    timeout: UNUSED_MS,
    maxSockets: MAX_SOCKETS_PER_HOST,
    maxFreeSockets: MAX_UNUSED_PER_HOST,
    lookup: guardedLookup(guard, resolve),
  };
  const http = new HttpAgent(pool);
  const https = new HttpsAgent({
    ...pool,
    rejectUnauthorized: options.rejectUnauthorized,
    ...(options.ca === undefined ? {} : { ca: [...options.ca] }),
  });
  guardLiterals(http, guard);
  guardLiterals(https, guard);
  return {
    http,
    https,
    [Symbol.dispose]() {
      http.destroy();
      https.destroy();
    },
  };
}

/** The socket connects to one of the addresses that this gives and asks no second time. */
function guardedLookup(guard: AddressGuard, resolve: Resolve): LookupFunction {
  return (host, options, callback) => {
    const family = options.family === "IPv4" ? 4 : options.family === "IPv6" ? 6 : options.family;
    resolve(host, (error, found) => {
      if (error !== null) return callback(error, "");
      const wanted = found.filter((a) => (family ?? 0) === 0 || a.family === family);
      const allowed = wanted.filter((a) => guard.allows(a.address));
      const [first] = allowed;
      if (first === undefined) callback(wanted.length === 0 ? notFound(host) : denied(host), "");
      else if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

/** A host that is an address is never looked up: it is checked where the socket is made. */
function guardLiterals(agent: HttpAgent, guard: AddressGuard): void {
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (
    options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ) => {
    const host = options.host ?? "";
    const isUnixSocket = typeof options.socketPath === "string" || typeof options.path === "string";
    if (!isUnixSocket && (isIP(host) === 0 || guard.allows(host)))
      return connect(options, callback);
    // Thrown, it would be nobody's where the request had waited for a free connection.
    process.nextTick(() => callback?.(denied(host), new PassThrough()));
    return undefined;
  };
}

function denied(host: string): AddressDenied {
  return new AddressDenied(`not to be connected to: ${host}`);
}

function notFound(host: string): Error {
  return Object.assign(new Error(`no address of ${host}`), { code: "ENOTFOUND" });
}
