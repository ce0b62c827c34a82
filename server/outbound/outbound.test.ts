import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import {
  type AddressInfo,
  createServer as createTcpServer,
  type Server as TcpServer,
  type Socket,
} from "node:net";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { loadConfig } from "../config/config.ts";
import {
  createHttpClient,
  type HttpClient,
  type HttpClientOptions,
  OutboundError,
  type OutboundErrorKind,
  type OutboundRequest,
} from "./outbound.ts";

const denylist = loadConfig({ cwd: "/nonexistent", env: {} }).config.federation.ip_range_denylist;
/** The one address of this machine that the client under test may connect to. */
const ALLOWED = "127.0.0.2";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let handler: Handler = (_request, response) => response.end();
const open = new Set<Socket>();
let connections = 0;
/** Where requests may go. */
const server = createServer((request, response) => handler(request, response));
/** Where none may ever arrive. */
let intrusions = 0;
const intrude = (socket: Socket): void => {
  intrusions += 1;
  socket.destroy();
};
const forbidden = createTcpServer(intrude);
const forbiddenIpv6 = createTcpServer(intrude);
const clients: HttpClient[] = [];

/** Of matrix.example, signed by itself; good for nothing else. */
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgTj3IzvZ0mO9U2tzt
VFRwWr//5zj78tLd8jco49KE4JChRANCAARbL7Dn0oodi2SZ42Z10hyyiVSqwhpy
kVB5iorUwaDsTVQpZeGVC715P9U21cWpn511p4QQVQ+QmFwo+P39kEJg
-----END PRIVATE KEY-----`;
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBozCCAUqgAwIBAgIUWCFwui8al78AiSIInFa/O96Az7gwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwObWF0cml4LmV4YW1wbGUwIBcNMjYxMTIyMjA0NjEwWhgPMjEy
NjEwMjkyMDQ2MTBaMBkxFzAVBgNVBAMMDm1hdHJpeC5leGFtcGxlMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEWy+w59KKHYtkmeNmddIcsolUqsIacpFQeYqK1MGg
7E1UKWXhlQu9eT/VNtXFqZ+ddaeEEFUPkJhcKPj9/ZBCYKNuMGwwHQYDVR0OBBYE
FHBFlLhPNIUsJO8bWJmkD3tKwwd8MB8GA1UdIwQYMBaAFHBFlLhPNIUsJO8bWJmk
D3tKwwd8MA8GA1UdEwEB/wQFMAMBAf8wGQYDVR0RBBIwEIIObWF0cml4LmV4YW1w
bGUwCgYIKoZIzj0EAwIDRwAwRAIgfLGqY9Niz4dBUv4SSwQsaJJRgxDNHhvN6cqi
otbOEoICIBHzrHUqqXUMrPb5VsEBaoY0LDkcXVR798G82E9pYL2H
-----END CERTIFICATE-----`;

before(async () => {
  server.on("connection", (socket: Socket) => {
    connections += 1;
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  await listen(server, ALLOWED);
  await listen(forbidden, "127.0.0.1");
  await listen(forbiddenIpv6, "::1", portOf(forbidden));
});

after(() => {
  for (const client of clients) client[Symbol.dispose]();
  for (const socket of open) socket.destroy();
  server.close();
  forbidden.close();
  forbiddenIpv6.close();
});

function listen(listener: TcpServer, address: string, port = 0): Promise<void> {
  return new Promise((resolve) => listener.listen(port, address, resolve));
}

function portOf(listener: TcpServer): number {
  // Both listen on ports.
  return (listener.address() as AddressInfo).port;
}

function client(options: Partial<HttpClientOptions> = {}): HttpClient {
  const made = createHttpClient({ denylist, allowlist: [`${ALLOWED}/32`], ...options });
  clients.push(made);
  return made;
}

function request(path = "/", more: Partial<OutboundRequest> = {}): OutboundRequest {
  return {
    url: `http://${ALLOWED}:${portOf(server)}${path}`,
    protocols: ["http:", "https:"],
    maxResponseBytes: 10_000,
    ...more,
  };
}

async function fails(promise: Promise<unknown>, ...kinds: OutboundErrorKind[]): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof OutboundError, String(error));
    assert.ok(
      kinds.includes(error.kind),
      `${error.kind}: ${error.message} (${String(error.cause)})`,
    );
    return true;
  });
}

/** Hosts that all mean an address of this machine or of a private network. */
const PRIVATE_HOSTS = words(`
    127.0.0.1 127.1 0x7f000001 2130706433 017700000001 0 0.0.0.0 １２７.0.0.1 ①②⑦.0.0.1 127。0。0。1
    localhost [::1] [::] [::ffff:7f00:1] [::ffff:127.0.0.1] [::7f00:1] [::ffff:0:7f00:1]
    [64:ff9b::a00:1] [64:ff9b::7f00:1] [64:ff9b:1::7f00:1] [2002:a00:1::] [2002:7f00:1::]
    [2001:0:7f00:1::] [fe80::1] [fc00::1] [fd00::1] 169.254.169.254 100.64.0.1 10.0.0.1
    192.168.0.1 172.16.0.1 0xa9fea9fe`);

test("S01: no spelling of a private address is connected to", async () => {
  const http = client();
  for (const host of PRIVATE_HOSTS) {
    for (const scheme of ["http", "https"]) {
      const url = `${scheme}://${host}:${portOf(forbidden)}/`;
      await fails(http.request(request("/", { url })), "denied");
    }
  }
  assert.equal(intrusions, 0);
});

test("S01: no redirect leads to a private address", async () => {
  const http = client();
  for (const host of PRIVATE_HOSTS) {
    handler = (_request, response) => {
      const location = `http://${encodeURI(host)}:${portOf(forbidden)}/`;
      response.writeHead(302, { location }).end();
    };
    await fails(http.request(request("/", { maxRedirects: 5 })), "denied");
  }
  assert.equal(intrusions, 0);
});

test("S01: where to connect instead of the URL's host is checked just so", async () => {
  const http = client();
  for (const host of ["127.0.0.1", "127.1", "::1", "::ffff:7f00:1", "localhost", "0x7f000001"]) {
    const connectTo = { host, port: portOf(forbidden), certificateName: "example.org" };
    for (const url of ["http://example.org/", "https://example.org/"]) {
      await fails(http.request(request("/", { url, connectTo })), "denied", "unreachable");
    }
  }
  assert.equal(intrusions, 0);
});

test("S01: a name that turns from public to private is not followed there", async () => {
  let lookups = 0;
  const http = client({
    resolve(_host, callback) {
      lookups += 1;
      const address = lookups === 1 ? ALLOWED : "127.0.0.1";
      callback(null, [{ address, family: 4 }]);
    },
  });
  handler = (_request, response) => response.writeHead(200, { connection: "close" }).end("one");
  const url = `http://rebind.example:${portOf(server)}/`;
  const answer = await http.request(request("/", { url }));
  assert.equal(answer.body.toString(), "one");
  assert.equal(lookups, 1, "the address that was checked is the one connected to");
  await fails(
    http.request(request("/", { url: `http://rebind.example:${portOf(forbidden)}/` })),
    "denied",
  );
  assert.equal(intrusions, 0);
});

test("S01: of a name with public and private addresses only the public are connected to", async () => {
  const http = client({
    resolve: (_host, callback) =>
      callback(null, [
        { address: "127.0.0.1", family: 4 },
        { address: "::1", family: 6 },
        { address: ALLOWED, family: 4 },
      ]),
  });
  handler = (_request, response) => response.end("public");
  const answer = await http.request(
    request("/", { url: `http://mixed.example:${portOf(server)}/` }),
  );
  assert.equal(answer.body.toString(), "public");
  await fails(
    http.request(request("/", { url: `http://mixed.example:${portOf(forbidden)}/` })),
    "unreachable",
  );
  assert.equal(intrusions, 0);
});

test("S01: a kept connection is used for its own host only", async () => {
  const http = client();
  handler = (_request, response) => response.end("ok");
  await http.request(request());
  connections = 0;
  await http.request(request("/again"));
  assert.equal(connections, 0, "the connection was kept");
  const url = `http://127.0.0.1:${portOf(server)}/`;
  await fails(http.request(request("/", { url })), "denied");
});

test("S01: other schemes than those asked for are refused, in redirects too", async () => {
  const http = client();
  const urls = ["file:///etc/passwd", "ftp://1.1.1.1/", "unix:/run/x.sock", "http+unix://x/", "no"];
  for (const url of urls) await fails(http.request(request("/", { url })), "denied");
  await fails(http.request({ url: request().url, maxResponseBytes: 1 }), "denied");
  for (const location of [...urls.slice(0, 4), "data:text/html,x"]) {
    handler = (_request, response) => response.writeHead(302, { location }).end();
    await fails(http.request(request("/", { maxRedirects: 5 })), "denied");
  }
});

test("an answer comes with its status, headers and body", async () => {
  handler = (incoming, response) => {
    response.writeHead(404, { "content-type": "text/plain", "x-two": ["a", "b"] });
    response.write(`${incoming.method} ${incoming.url} ${incoming.headers.host} `);
    incoming.pipe(response);
  };
  const answer = await client().request(
    request("/path?q=1", {
      method: "PUT",
      body: "body",
      headers: { host: "matrix.example", "content-type": "text/plain" },
    }),
  );
  assert.equal(answer.status, 404);
  assert.equal(answer.headers["content-type"], "text/plain");
  assert.equal(answer.headers["x-two"], "a, b");
  assert.equal(answer.body.toString(), "PUT /path?q=1 matrix.example body");
});

test("V139: at most 5 redirects are followed, however many are asked for", async () => {
  let asked = 0;
  handler = (_request, response) => {
    asked += 1;
    response.writeHead(307, { location: `/${asked}` }).end();
  };
  const http = client();
  await fails(http.request(request("/", { maxRedirects: 50 })), "redirects");
  assert.equal(asked, 6);
  asked = 0;
  assert.equal((await http.request(request())).status, 307);
  assert.equal((await http.request(request("/", { method: "POST", maxRedirects: 5 }))).status, 307);
  assert.equal(asked, 2);
});

test("a redirect to another server takes no credentials along", async () => {
  const seen: IncomingMessage[] = [];
  const other = createServer((incoming, response) => {
    seen.push(incoming);
    response.end();
  });
  await listen(other, ALLOWED);
  const host = `${ALLOWED}:${portOf(other)}`;
  handler = (_request, response) => response.writeHead(302, { location: `http://${host}/` }).end();
  const headers = { authorization: "Bearer secret", cookie: "a=b", accept: "image/*" };
  try {
    await client().request(request("/", { maxRedirects: 1, headers }));
  } finally {
    other.close();
    other.closeAllConnections();
  }
  assert.equal(seen[0]?.headers.authorization, undefined);
  assert.equal(seen[0]?.headers.cookie, undefined);
  assert.equal(seen[0]?.headers.accept, "image/*");
  assert.equal(seen[0]?.headers.host, host);
});

test("V139: a body that never ends is cut at its bound", async () => {
  handler = (_request, response) => {
    const chunk = Buffer.alloc(4096);
    const more = (): void => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on("drain", more);
    more();
  };
  await fails(client().request(request()), "too-large");
});

test("V139: a body of 1 byte a second, and a head that never comes, are given up", async () => {
  const http = client();
  handler = (_request, response) => {
    response.write("x");
    const timer = setInterval(() => response.write("x"), 40);
    response.once("close", () => clearInterval(timer));
  };
  await fails(http.request(request("/", { totalMs: 300 })), "timeout");
  handler = (_request, response) => void response.write("x");
  await fails(http.request(request("/", { idleMs: 100 })), "timeout");
  handler = () => undefined;
  await fails(http.request(request("/", { idleMs: 100 })), "timeout");
  await fails(http.request(request("/", { totalMs: 100 })), "timeout");
});

test("a reader that is slow is not taken for a slow sender", async () => {
  handler = (_request, response) => response.end(Buffer.alloc(500_000, "x"));
  const answer = await client().open(request("/", { maxResponseBytes: 500_000, idleMs: 60 }));
  let bytes = 0;
  for await (const chunk of answer.body) {
    bytes += (chunk as Buffer).length;
    if (bytes < 200_000) await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.equal(bytes, 500_000);
});

test("a length beyond the bound is refused before the body is read", async () => {
  handler = (_request, response) => {
    response.writeHead(200, { "content-length": "10001" });
    response.flushHeaders();
  };
  await fails(client().request(request()), "too-large");
});

test("gzip is inflated within the bound; a bomb is cut", async () => {
  const http = client();
  handler = (_request, response) =>
    response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("hello"));
  assert.equal((await http.request(request())).body.toString(), "hello");
  const bomb = gzipSync(Buffer.alloc(50_000_000));
  handler = (_request, response) =>
    response.writeHead(200, { "content-encoding": "gzip" }).end(bomb);
  await fails(http.request(request("/", { maxResponseBytes: 1_000_000 })), "too-large");
  // Members without content: nothing comes out, however much comes in.
  const empty = Buffer.concat(Array.from({ length: 2000 }, () => gzipSync("")));
  handler = (_request, response) =>
    response.writeHead(200, { "content-encoding": "gzip" }).end(empty);
  await fails(http.request(request()), "too-large");
  handler = (_request, response) =>
    response.writeHead(200, { "content-encoding": "gzip" }).end("not gzip");
  await fails(http.request(request()), "bad-response");
  handler = (_request, response) => response.writeHead(200, { "content-encoding": "br" }).end("x");
  await fails(http.request(request()), "bad-response");
});

test("headers beyond 16 KiB and what is not HTTP are refused", async () => {
  const http = client();
  handler = (_request, response) =>
    response.writeHead(200, { "x-long": "x".repeat(20_000) }).end("x");
  await fails(http.request(request()), "bad-response");
  handler = (incoming) => void incoming.socket.end("SSH-2.0-x\r\n");
  await fails(http.request(request()), "bad-response");
});

test("a connection that breaks is told, in the head and in the body", async () => {
  const http = client();
  handler = (incoming) => void incoming.socket.destroy();
  await fails(http.request(request()), "unreachable");
  handler = (incoming, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("x", () => setTimeout(() => incoming.socket.destroy(), 20));
  };
  await fails(http.request(request()), "unreachable");
});

test("who gives up ends the request with his reason", async () => {
  const http = client();
  const reason = new Error("enough");
  handler = () => undefined;
  const controller = new AbortController();
  const waiting = http.request(request("/", { signal: controller.signal }));
  setTimeout(() => controller.abort(reason), 30);
  await assert.rejects(waiting, reason);
  await assert.rejects(http.request(request("/", { signal: AbortSignal.abort(reason) })), reason);
});

test("a kept connection that its peer closed is replaced, but for a POST that was sent", async () => {
  const http = client();
  let isClosing = false;
  handler = (incoming, response) => {
    if (isClosing) {
      isClosing = false;
      incoming.socket.resetAndDestroy();
    } else response.end("ok");
  };
  await http.request(request());
  isClosing = true;
  assert.equal((await http.request(request())).body.toString(), "ok");
  isClosing = true;
  await fails(http.request(request("/", { method: "POST" })), "unreachable");
});

test("a body that is not wanted frees its connection", async () => {
  handler = (_request, response) => void response.write("x");
  const answer = await client().open(request());
  const closed = new Promise((resolve) => {
    for (const socket of open) socket.once("close", resolve);
  });
  answer.body.destroy();
  await closed;
});

test("a certificate must be trusted, and of the name that is asked for", async () => {
  const tls = createTlsServer({ key: KEY, cert: CERTIFICATE }, (incoming, response) => {
    response.end(incoming.headers.host);
  });
  await listen(tls, ALLOWED);
  const url = "https://matrix.example/";
  const to = (certificateName: string): Partial<OutboundRequest> => ({
    url,
    connectTo: { host: ALLOWED, port: portOf(tls), certificateName },
  });
  try {
    const trusting = client({ ca: [CERTIFICATE] });
    const answer = await trusting.request(request("/", to("matrix.example")));
    assert.equal(answer.body.toString(), "matrix.example");
    await fails(trusting.request(request("/", to("other.example"))), "unreachable");
    const literal = `https://${ALLOWED}:${portOf(tls)}/`;
    await fails(trusting.request(request("/", { url: literal })), "unreachable");
    await fails(client().request(request("/", to("matrix.example"))), "unreachable");
    const careless = client({ verifyCertificates: false });
    assert.equal((await careless.request(request("/", to("other.example")))).status, 200);
  } finally {
    tls.close();
    tls.closeAllConnections();
  }
});

function words(text: string): string[] {
  return text.trim().split(/\s+/);
}
