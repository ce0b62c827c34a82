/**
 * The one HTTP client for addresses that others choose: federation, previews, push gateways,
 * application services, OpenID, identity servers.
 *
 * Every connection of every hop passes the address guard; time, size (also after inflating) and
 * redirects are bounded.
 */
import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import type { Readable } from "node:stream";
import { createAddressGuard } from "./address-guard.ts";
import { boundedBody } from "./bounded-body.ts";
import { exchange, StaleConnection } from "./exchange.ts";
import { createGuardedAgents, type Resolve } from "./guarded-agents.ts";
import { OutboundError } from "./outbound-error.ts";

export { OutboundError, type OutboundErrorKind } from "./outbound-error.ts";

export interface OutboundRequest {
  method?: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  url: string;
  /** Lower-case names. */
  headers?: Readonly<Record<string, string>>;
  body?: string | Uint8Array;
  /** Where to connect, when not to the URL's host, and the name that the certificate must bear. */
  connectTo?: { host: string; port: number; certificateName: string };
  /** Schemes that the URL and redirects may have; `https:` alone by default. */
  protocols?: readonly ("http:" | "https:")[];
  /** Most bytes of the answer's body, inflated. */
  maxResponseBytes: number;
  /** Redirects of GET and HEAD that are followed: none by default, 5 at most. */
  maxRedirects?: number;
  /** Time in ms to be connected; 10 s by default. */
  connectMs?: number;
  /** Time in ms to wait for the head of the answer, or for more of its body; 15 s by default. */
  idleMs?: number;
  /** Time in ms for everything, redirects and the body included; 30 s by default. */
  totalMs?: number;
  signal?: AbortSignal;
}

export interface OutboundResponse<B> {
  status: number;
  /** Lower-case names; what is repeated is joined by commas. */
  headers: Readonly<Record<string, string>>;
  body: B;
  /** The address that answered, after redirects. */
  url: string;
}

export interface HttpClient extends Disposable {
  /** @throws OutboundError; the signal's reason */
  request(request: OutboundRequest): Promise<OutboundResponse<Buffer>>;
  /**
   * Gives the body as it comes: read it to its end, or destroy it. It fails with an OutboundError
   * when it is too long or too slow.
   *
   * @throws OutboundError; the signal's reason
   */
  open(request: OutboundRequest): Promise<OutboundResponse<Readable>>;
}

export interface HttpClientOptions {
  /** Ranges such as `10.0.0.0/8` that are never connected to. */
  denylist: readonly string[];
  /** Exceptions from them. */
  allowlist: readonly string[];
  /** Only ever false in tests. */
  verifyCertificates?: boolean;
  /** Certificates in PEM to trust, in place of those that Node brings. */
  ca?: readonly string[] | undefined;
  /** Finds the addresses of a host; by default as the system does. */
  resolve?: Resolve;
}

/** A request with its URL read; a redirect makes another. */
type Hop = Omit<OutboundRequest, "url"> & { url: URL };

const MAX_REDIRECTS = 5;
const MAX_HEADER_BYTES = 16 * 1024;
const DEFAULT_BOUNDS = { connectMs: 10_000, idleMs: 15_000, totalMs: 30_000 };
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** What another server may see than the one that a request was for. */
const HARMLESS_HEADERS = new Set(["accept", "accept-language", "user-agent", "range"]);

export function createHttpClient(options: HttpClientOptions): HttpClient {
  const agents = createGuardedAgents({
    guard: createAddressGuard({ denied: options.denylist, allowed: options.allowlist }),
    resolve: options.resolve,
    rejectUnauthorized: options.verifyCertificates ?? true,
    ca: options.ca,
  });

  async function open(asked: OutboundRequest): Promise<OutboundResponse<Readable>> {
    const deadline = startDeadline(asked);
    try {
      let hop: Hop = { ...asked, url: readUrl(asked.url, undefined, asked) };
      const maxRedirects = Math.min(asked.maxRedirects ?? 0, MAX_REDIRECTS);
      for (let redirects = 0; ; redirects += 1) {
        const response = await sendAgainIfStale(hop, deadline.signal);
        const next = maxRedirects > 0 ? redirectOf(hop, response) : undefined;
        if (next === undefined) return finish(hop, response, deadline);
        response.destroy();
        if (redirects === maxRedirects) {
          throw new OutboundError("redirects", `more than ${maxRedirects} redirects`);
        }
        hop = next;
      }
    } catch (error) {
      deadline.end();
      throw error;
    }
  }

  async function sendAgainIfStale(hop: Hop, signal: AbortSignal): Promise<IncomingMessage> {
    try {
      return await send(hop, signal);
    } catch (error) {
      if (!(error instanceof StaleConnection)) throw error;
      // A POST may have been carried out, though nobody said so.
      if (hop.method !== "POST") return send(hop, signal);
      throw new OutboundError("unreachable", "the connection broke", { cause: error });
    }
  }

  function send(hop: Hop, signal: AbortSignal): Promise<IncomingMessage> {
    const { url, connectTo } = hop;
    const isTls = url.protocol === "https:";
    const request = (isTls ? httpsRequest : httpRequest)({
      agent: isTls ? agents.https : agents.http,
      method: hop.method ?? "GET",
      host: connectTo?.host ?? withoutBrackets(url.hostname),
      port: connectTo?.port ?? (url.port === "" ? (isTls ? 443 : 80) : Number(url.port)),
      path: `${url.pathname}${url.search}`,
      maxHeaderSize: MAX_HEADER_BYTES,
      servername: serverNameFor(connectTo?.certificateName ?? url.hostname),
      headers: { "user-agent": "Gomin", "accept-encoding": "gzip", host: url.host, ...hop.headers },
    });
    return exchange(request, hop.body, { ...DEFAULT_BOUNDS, ...boundsOf(hop), signal });
  }

  return {
    open,
    async request(asked) {
      const response = await open(asked);
      const chunks: Buffer[] = [];
      for await (const chunk of response.body) chunks.push(chunk as Buffer);
      return { ...response, body: Buffer.concat(chunks) };
    },
    [Symbol.dispose]: () => agents[Symbol.dispose](),
  };
}

/** Aborted when the time for everything is over, or whoever asked gave up. */
interface Deadline {
  signal: AbortSignal;
  end(): void;
}

function startDeadline({ totalMs = DEFAULT_BOUNDS.totalMs, signal }: OutboundRequest): Deadline {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal?.reason);
  const timer = setTimeout(
    () => controller.abort(new OutboundError("timeout", "not done in time")),
    totalMs,
  );
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener("abort", onAbort);
  return {
    signal: controller.signal,
    end() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    },
  };
}

function finish(
  hop: Hop,
  response: IncomingMessage,
  deadline: Deadline,
): OutboundResponse<Readable> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(response.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  try {
    const body = boundedBody(response, {
      maxBytes: hop.maxResponseBytes,
      idleMs: hop.idleMs ?? DEFAULT_BOUNDS.idleMs,
      signal: deadline.signal,
      onEnd: deadline.end,
    });
    return { status: response.statusCode ?? 0, headers, body, url: hop.url.href };
  } catch (error) {
    response.destroy();
    throw error;
  }
}

/** Where an answer sends us instead; undefined where it is an answer. */
function redirectOf(hop: Hop, { statusCode = 0, headers }: IncomingMessage): Hop | undefined {
  const { method = "GET", url } = hop;
  const { location } = headers;
  if (!REDIRECTS.has(statusCode) || location === undefined) return undefined;
  if (method !== "GET" && method !== "HEAD") return undefined;
  const to = readUrl(location, url, hop);
  const { connectTo: _, ...rest } = hop;
  if (to.origin === url.origin) return { ...hop, url: to };
  const kept = Object.entries(hop.headers ?? {}).filter(([name]) => HARMLESS_HEADERS.has(name));
  return { ...rest, url: to, headers: Object.fromEntries(kept) };
}

function readUrl(
  text: string,
  base: URL | undefined,
  { protocols = ["https:"] }: Pick<OutboundRequest, "protocols">,
): URL {
  const url = URL.parse(text, base?.href);
  if (url === null) throw new OutboundError("denied", "not a URL");
  if (!protocols.some((protocol) => protocol === url.protocol)) {
    throw new OutboundError("denied", `not to be asked by ${url.protocol}`);
  }
  return url;
}

function boundsOf({ connectMs, idleMs }: Hop): { connectMs?: number; idleMs?: number } {
  return {
    ...(connectMs === undefined ? {} : { connectMs }),
    ...(idleMs === undefined ? {} : { idleMs }),
  };
}

/** The name for TLS; an address has none, and its certificate is then compared with the address. */
function serverNameFor(host: string): string {
  const bare = withoutBrackets(host);
  return isIP(bare) === 0 ? bare : "";
}

function withoutBrackets(host: string): string {
  return host.startsWith("[") ? host.slice(1, -1) : host;
}
