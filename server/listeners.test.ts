import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ListenerConfig } from "./config/config.ts";
import { health } from "./health.ts";
import { type Listeners, type ListenersOptions, openListeners } from "./listeners.ts";
import { silentLog } from "./log.ts";
import { Draining, type Route, route } from "./route.ts";
import { until } from "./testing.ts";

const LISTENER: ListenerConfig = {
  port: 0,
  bind_addresses: ["127.0.0.1"],
  tls: { cert: undefined, key: undefined },
  x_forwarded: false,
  trusted_proxies: undefined,
  resources: ["client"],
};

function named(path: string): Route {
  return route({ method: "GET", path, access: "public", handle: async () => ({ path }) });
}

function open(options: Partial<ListenersOptions> = {}): Promise<Listeners> {
  return openListeners({
    listeners: [LISTENER],
    routes: { client: [named("/client")], federation: [], metrics: [named("/metrics")], admin: [] },
    commonRoutes: [],
    authenticate: () => assert.fail("no route asks"),
    rateLimits: { takeFor: async () => undefined },
    log: silentLog,
    ...options,
  });
}

test("a listener serves its own resources and no others", async () => {
  await using listeners = await open({
    listeners: [LISTENER, { ...LISTENER, resources: ["metrics"] }],
    commonRoutes: [named("/health")],
  });
  const [client, metrics] = listeners.bound;
  const status = async (url: string | undefined, path: string): Promise<number> =>
    (await fetch(`${url}${path}`)).status;
  assert.equal(await status(client?.url, "/client"), 200);
  assert.equal(await status(client?.url, "/metrics"), 404);
  assert.equal(await status(metrics?.url, "/metrics"), 200);
  assert.equal(await status(metrics?.url, "/client"), 404);
  assert.equal(await status(client?.url, "/health"), 200);
  assert.equal(await status(metrics?.url, "/health"), 200);
});

test("a port that is taken is named with its setting", async () => {
  await using listeners = await open();
  const port = Number(new URL(listeners.bound[0]?.url ?? "").port);
  await assert.rejects(
    open({
      listeners: [
        { ...LISTENER, port: 0 },
        { ...LISTENER, port },
      ],
    }),
    new RegExp(`^Error: listeners\\[1\\]: cannot listen on 127\\.0\\.0\\.1, port ${port}: another`),
  );
});

test("V121: X-Forwarded-For counts only on a listener that stands behind a proxy", async () => {
  const seen: string[] = [];
  const whoAmI = route({
    method: "GET",
    path: "/who",
    access: "public",
    async handle({ clientAddress }) {
      seen.push(clientAddress);
      return {};
    },
  });
  await using listeners = await open({
    listeners: [
      LISTENER,
      { ...LISTENER, x_forwarded: true },
      { ...LISTENER, x_forwarded: true, trusted_proxies: ["192.0.2.1"] },
      { ...LISTENER, x_forwarded: true, trusted_proxies: ["127.0.0.1", "192.0.2.0/24"] },
    ],
    routes: { client: [whoAmI], federation: [], metrics: [], admin: [] },
  });
  const headers = { "x-forwarded-for": "198.51.100.9, 203.0.113.7, 192.0.2.8" };
  for (const { url } of listeners.bound) await fetch(`${url}/who`, { headers });
  assert.deepEqual(seen, ["127.0.0.1", "192.0.2.8", "127.0.0.1", "203.0.113.7"]);
});

test("S03: headers beyond 16 KiB are 431, and what is not HTTP is 400, as JSON", async () => {
  await using listeners = await open();
  const { hostname, port } = new URL(listeners.bound[0]?.url ?? "");
  const ask = async (text: string): Promise<string> => {
    const socket = connect(Number(port), hostname);
    let received = "";
    socket.on("data", (data: Buffer) => (received += data.toString()));
    socket.on("error", () => undefined);
    socket.write(text);
    await once(socket, "close");
    return received;
  };
  const long = await ask(`GET /client HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(17_000)}\r\n\r\n`);
  assert.match(long, /^HTTP\/1\.1 431 [^]*"errcode":"M_UNKNOWN"/);
  assert.match(await ask("EHLO mail\r\n\r\n"), /^HTTP\/1\.1 400 [^]*"errcode":"M_UNKNOWN"/);
  const twice =
    "POST /client HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx";
  assert.match(await ask(twice), /^HTTP\/1\.1 400/);
});

test(
  "S04: a client that does not finish its headers in 20 s is cut off",
  { timeout: 40_000 },
  async () => {
    await using listeners = await open();
    const { hostname, port } = new URL(listeners.bound[0]?.url ?? "");
    const socket = connect(Number(port), hostname);
    socket.on("error", () => undefined);
    socket.write("GET /client HTTP/1.1\r\nHost: a\r\n");
    const drip = setInterval(() => socket.write("X: y\r\n"), 1_000);
    const startedAt = performance.now();
    socket.resume();
    await once(socket, "close");
    clearInterval(drip);
    const seconds = (performance.now() - startedAt) / 1000;
    assert.ok(seconds > 15 && seconds < 30, `${seconds} s`);
  },
);

test("F19: a drain answers those that wait, finishes what is at work, and accepts nothing new", async () => {
  let finish: (() => void) | undefined;
  const routes = [
    route({
      method: "GET",
      path: "/news",
      access: "public",
      longPoll: true,
      async handle({ signal }) {
        if (!signal.aborted) await once(signal, "abort");
        assert.ok(signal.reason instanceof Draining);
        return { news: [] };
      },
    }),
    route({
      method: "GET",
      path: "/work",
      access: "public",
      async handle() {
        await new Promise<void>((resolve) => (finish = resolve));
        return { done: true };
      },
    }),
  ];
  const listeners = await open({
    routes: { client: routes, federation: [], metrics: [], admin: [] },
  });
  const url = listeners.bound[0]?.url;
  const news = fetch(`${url}/news`);
  const work = fetch(`${url}/work`);
  await until(() => () => finish !== undefined);
  await sleep(20);
  const drained = listeners.drain();
  assert.equal(listeners.isDraining, true);
  const answer = await news;
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("connection"), "close");
  await assert.rejects(fetch(`${url}/news`));
  finish?.();
  assert.deepEqual(await (await work).json(), { done: true });
  await drained;
  await listeners[Symbol.asyncDispose]();
});

test("S22: ready is not healthy: it follows the dependencies, and the stop", async () => {
  let isThere = true;
  let isStopping = false;
  const check = async (): Promise<void> => {
    if (!isThere) throw new Error("away");
  };
  await using listeners = await open({
    commonRoutes: health({
      dependencies: [
        { name: "database", check },
        { name: "other", check: async () => undefined },
      ],
      isStopping: () => isStopping,
    }),
  });
  const url = listeners.bound[0]?.url;
  const ready = async (): Promise<unknown[]> => {
    const response = await fetch(`${url}/ready`);
    return [response.status, await response.json()];
  };
  assert.deepEqual(await ready(), [200, { status: "ok" }]);
  isThere = false;
  assert.deepEqual(await ready(), [503, { status: "waiting", missing: ["database"] }]);
  assert.equal((await fetch(`${url}/health`)).status, 200);
  isThere = true;
  isStopping = true;
  assert.equal((await ready())[0], 503);
});

test("a dependency that hangs counts as away", async () => {
  const [, readiness] = health({
    dependencies: [{ name: "database", check: () => new Promise(() => undefined) }],
    isStopping: () => false,
  });
  const startedAt = performance.now();
  // Nothing of the call is looked at.
  const reply = await readiness?.handle({} as Parameters<Route["handle"]>[0]);
  assert.equal(Reflect.get(reply ?? {}, "status"), 503);
  assert.ok(performance.now() - startedAt < 5_000);
});

test("a listener with a certificate speaks TLS, of version 1.2 at least", async (t) => {
  const folder = fs.mkdtempSync(join(tmpdir(), "gomin-tls-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  try {
    execFileSync(
      "openssl",
      [
        ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" "),
        ..."-subj /CN=localhost -keyout".split(" "),
        key,
        "-out",
        cert,
      ],
      { stdio: "ignore" },
    );
  } catch {
    return t.skip("takes openssl");
  }
  await using listeners = await open({ listeners: [{ ...LISTENER, tls: { cert, key } }] });
  const url = new URL(listeners.bound[0]?.url ?? "");
  assert.equal(url.protocol, "https:");
  const ask = (options: object): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      httpsRequest(new URL("/client", url), {
        ca: fs.readFileSync(cert),
        servername: "localhost",
        ...options,
      })
        .on("response", (response) => {
          response.resume();
          resolve(response.statusCode);
        })
        .on("error", reject)
        .end();
    });
  assert.equal(await ask({ agent: false }), 200);
  await assert.rejects(ask({ agent: false, minVersion: "TLSv1.1", maxVersion: "TLSv1.1" }));
  const missing = open({ listeners: [{ ...LISTENER, tls: { cert: join(folder, "none"), key } }] });
  await assert.rejects(missing, /^Error: listeners\[0\]\.tls: /);
  fs.rmSync(folder, { recursive: true });
});
