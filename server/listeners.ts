/**
 * Where the server listens: sockets, TLS, limits of connections, and how all that ends.
 *
 * What is bound to one address serves the resources that the configuration gives it, and no others.
 */
import { readFileSync, statSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { trustedProxies } from "./client-address.ts";
import type { Config, ListenerConfig } from "./config/config.ts";
import { createHttp, type Http, type HttpOptions } from "./http.ts";
import type { Log } from "./log.ts";
import type { Route } from "./route.ts";

export type Resource = ListenerConfig["resources"][number];

export type ListenersOptions = Omit<HttpOptions, "routes" | "trustedProxies"> & {
  listeners: Config["listeners"];
  routes: Readonly<Record<Resource, readonly Route[]>>;
  /** Routes of every listener. */
  commonRoutes: readonly Route[];
  /** Takes connections that leave HTTP, on listeners of clients; without it there are none. */
  onUpgrade?: (request: http.IncomingMessage, socket: Duplex, head: Buffer) => void;
};

export interface Listeners extends AsyncDisposable {
  /** Where it listens, in the order of the configuration. */
  readonly bound: readonly { url: string; resources: readonly Resource[] }[];
  /**
   * Stops accepting, lets what waits for news answer, and waits until all is answered; what is not
   * answered in time is cut off.
   */
  drain(): Promise<void>;
  readonly isDraining: boolean;
}

/** Limits of what a client may send before it is known who it is; times in ms. */
const LIMITS = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 20_000,
  // Bodies have their own limits: whole for JSON, a least rate for uploads.
  requestTimeout: 0,
  connectionsCheckingInterval: 5_000,
  // Longer than proxies keep theirs, which else would use a connection that we just closed.
  keepAliveTimeout: 75_000,
  requireHostHeader: true,
  insecureHTTPParser: false,
} as const;
/** Node cuts off further headers silently; one more than is allowed shows that there were too many. */
const MAX_HEADERS = 101;
/** Connections of one address, where it is a client's and not a proxy's. */
const MAX_CONNECTIONS_PER_ADDRESS = 1_000;

/** Times in ms from the beginning of a drain. */
const RELEASE_ALL_MS = 8_000;
const CUT_OFF_MS = 12_000;
/** Time in ms for which one that is just stopping may keep a port. */
const PREDECESSOR_MS = 3_000;
const PREDECESSOR_POLL_MS = 100;
/** How often a renewed certificate is looked for. */
const CERTIFICATE_CHECK_MS = 60_000;

/** @throws Error that names the setting, where an address cannot be bound */
export async function openListeners(options: ListenersOptions): Promise<Listeners> {
  await using stack = new AsyncDisposableStack();
  const endpoints: Endpoint[] = [];
  // Where one cannot be bound, those before it must not stay open.
  stack.defer(async () => {
    await Promise.all(endpoints.map(({ server }) => new Promise((done) => server.close(done))));
  });
  for (const [i, config] of options.listeners.entries()) {
    const handler = createHttp({
      ...options,
      routes: [
        ...config.resources.flatMap((name) => options.routes[name]),
        ...options.commonRoutes,
      ],
      trustedProxies: config.x_forwarded ? trustedProxies(config.trusted_proxies) : undefined,
    });
    await bindAll(config, `listeners[${i}]`, handler, options, stack, endpoints);
  }
  const owned = stack.move();
  let draining: Promise<void> | undefined;
  return {
    bound: endpoints.map(({ url, resources }) => ({ url, resources })),
    drain: () => (draining ??= drain(endpoints)),
    get isDraining() {
      return draining !== undefined;
    },
    async [Symbol.asyncDispose]() {
      await (draining ??= drain(endpoints));
      await owned[Symbol.asyncDispose]();
    },
  };
}

/** One bound address. */
interface Endpoint {
  server: http.Server;
  handler: Http;
  sockets: ReadonlySet<Socket>;
  url: string;
  resources: readonly Resource[];
}

/** Binds all addresses of a listener and adds them to the endpoints; those of IPv6 may be missing on a machine without it. */
async function bindAll(
  config: ListenerConfig,
  name: string,
  handler: Http,
  options: ListenersOptions,
  stack: AsyncDisposableStack,
  endpoints: Endpoint[],
): Promise<void> {
  const { port, bind_addresses: addresses, resources } = config;
  for (const address of addresses) {
    const { server, sockets } = createServer(config, name, handler, options, stack);
    try {
      await listenSoon(server, port, address, addresses.includes("0.0.0.0"));
    } catch (error) {
      const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
      const hasNoIpv6 = code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT";
      if (hasNoIpv6 && address.includes(":") && addresses.length > 1) {
        options.log.info({ address }, "this machine has no IPv6; not listening there");
        continue;
      }
      throw new Error(
        `${name}: cannot listen on ${address}, port ${port}: ${reason(code, error)}`,
        {
          cause: error,
        },
      );
    }
    endpoints.push({ server, handler, sockets, resources, url: urlOf(server, config) });
  }
}

function reason(code: unknown, error: unknown): string {
  if (code === "EADDRINUSE") return "another program listens there";
  if (code === "EACCES") return "ports below 1024 need a privilege";
  if (code === "EADDRNOTAVAIL") return "this machine does not have the address";
  return error instanceof Error ? error.message : String(error);
}

function createServer(
  config: ListenerConfig,
  name: string,
  handler: Http,
  options: ListenersOptions,
  stack: AsyncDisposableStack,
): { server: http.Server; sockets: ReadonlySet<Socket> } {
  const { cert, key } = config.tls;
  const isTls = cert !== undefined && key !== undefined;
  const server = isTls
    ? https.createServer({ ...LIMITS, ...readCertificate(cert, key, name), minVersion: "TLSv1.2" })
    : http.createServer(LIMITS);
  if (isTls && server instanceof https.Server) {
    stack.defer(watchCertificate(server, cert, key, name, options.log));
  }
  server.maxHeadersCount = MAX_HEADERS;
  server.on("request", handler.listener);
  server.on("clientError", answerBadRequest);
  if (options.onUpgrade !== undefined && config.resources.includes("client")) {
    server.on("upgrade", options.onUpgrade);
  }
  return { server, sockets: watchSockets(server, config.x_forwarded) };
}

/** Knows all connections, and refuses those that are too many from one address. */
function watchSockets(server: http.Server, isBehindProxy: boolean): ReadonlySet<Socket> {
  const sockets = new Set<Socket>();
  const byAddress = new Map<string, number>();
  server.on("connection", (socket: Socket) => {
    const address = socket.remoteAddress ?? "";
    const count = (byAddress.get(address) ?? 0) + 1;
    if (!isBehindProxy && count > MAX_CONNECTIONS_PER_ADDRESS && !isOwnMachine(address)) {
      socket.destroy();
      return;
    }
    byAddress.set(address, count);
    sockets.add(socket);
    socket.once("close", () => {
      sockets.delete(socket);
      const left = (byAddress.get(address) ?? 1) - 1;
      if (left > 0) byAddress.set(address, left);
      else byAddress.delete(address);
    });
  });
  return sockets;
}

function isOwnMachine(address: string): boolean {
  return address === "::1" || /^(?:::ffff:)?127\./.test(address);
}

/** Listens; where somebody else still does, that may be ourselves before a restart. */
async function listenSoon(
  server: http.Server,
  port: number,
  host: string,
  hasAnyIpv4: boolean,
): Promise<void> {
  const deadline = performance.now() + PREDECESSOR_MS;
  for (;;) {
    try {
      return await listen(server, port, host, hasAnyIpv4);
    } catch (error) {
      const isTaken = error instanceof Error && Reflect.get(error, "code") === "EADDRINUSE";
      if (!isTaken || performance.now() > deadline) throw error;
      await sleep(PREDECESSOR_POLL_MS);
    }
  }
}

function listen(
  server: http.Server,
  port: number,
  host: string,
  hasAnyIpv4: boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const onListening = (): void => {
      server.off("error", onError);
      resolve();
    };
    const onError = (error: Error): void => {
      server.off("listening", onListening);
      reject(error);
    };
    server.once("listening", onListening).once("error", onError);
    // Where both are listed, `::` must not take IPv4 as well.
    server.listen({ port, host, ipv6Only: host === "::" && hasAnyIpv4 });
  });
}

function urlOf(server: http.Server, { tls }: ListenerConfig): string {
  // A TCP server's address is never a path.
  const { address, family, port } = server.address() as AddressInfo;
  const scheme = tls.cert === undefined ? "http" : "https";
  return `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}

/** Answers what is not HTTP, or comes too slowly or at too great a length to be read. */
function answerBadRequest(error: Error, socket: Duplex): void {
  const code: unknown = Reflect.get(error, "code");
  if (code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, message] =
    code === "HPE_HEADER_OVERFLOW"
      ? ["431 Request Header Fields Too Large", "The headers are too large"]
      : code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? ["408 Request Timeout", "The request came too slowly"]
        : ["400 Bad Request", "This is not a request"];
  const body = JSON.stringify({ errcode: "M_UNKNOWN", error: message });
  socket.end(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\n` +
      `access-control-allow-origin: *\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
}

async function drain(endpoints: readonly Endpoint[]): Promise<void> {
  const closed = Promise.all(
    endpoints.map(({ server }) => new Promise((resolve) => server.close(resolve))),
  );
  const timers = new AbortController();
  const releaseAll = async (which: "longPolls" | "all", afterMs: number): Promise<void> => {
    await sleep(afterMs, undefined, { signal: timers.signal });
    for (const { handler } of endpoints) handler.release(which);
  };
  const cutOff = async (): Promise<void> => {
    await sleep(CUT_OFF_MS, undefined, { signal: timers.signal });
    for (const { sockets } of endpoints) for (const socket of sockets) socket.destroy();
  };
  const steps = Promise.allSettled([
    releaseAll("longPolls", 0),
    releaseAll("all", RELEASE_ALL_MS),
    cutOff(),
  ]);
  await closed;
  timers.abort();
  await steps;
}

function readCertificate(cert: string, key: string, name: string): { cert: Buffer; key: Buffer } {
  try {
    return { cert: readFileSync(cert), key: readFileSync(key) };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${name}.tls: the certificate or its key cannot be read: ${why}`, { cause });
  }
}

/** Takes a renewed certificate into use, for new connections. */
function watchCertificate(
  server: https.Server,
  cert: string,
  key: string,
  name: string,
  log: Log,
): () => void {
  let seen = statSync(cert).mtimeMs;
  const timer = setInterval(() => {
    try {
      const now = statSync(cert).mtimeMs;
      if (now === seen) return;
      server.setSecureContext({ ...readCertificate(cert, key, name), minVersion: "TLSv1.2" });
      seen = now;
      log.info({ cert }, "a renewed certificate is in use");
    } catch (error) {
      log.warn({ err: error, cert }, "a renewed certificate cannot be used; the old one stays");
    }
  }, CERTIFICATE_CHECK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
