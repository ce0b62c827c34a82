import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { histogram, isTracing, withSpan } from "./instruments.ts";
import { openListeners } from "./listeners.ts";
import { silentLog } from "./log.ts";
import { Reply, route } from "./route.ts";
import { startTelemetry } from "./telemetry.ts";

// Made before there is telemetry, as those of a module are.
const times = histogram("gomin.test.times.seconds", {
  description: "Times.",
  unit: "s",
  buckets: [1, 2],
});

const OFF = { endpoint: undefined, service_name: "test", sample_ratio: 1 };

test("without telemetry nothing is measured, and what is to be a span just runs", async () => {
  times.record(1);
  assert.equal(isTracing(), false);
  assert.equal(await withSpan("x", {}, async (span) => span), undefined);
});

test("metrics are read in Prometheus's form, requests by route among them", async () => {
  await using telemetry = await startTelemetry({ otel: OFF, hasMetrics: true, version: "0" });
  const listener = {
    port: 0,
    bind_addresses: ["127.0.0.1"],
    tls: { cert: undefined, key: undefined },
    x_forwarded: false,
    trusted_proxies: undefined,
  };
  const hello = route({
    method: "GET",
    path: "/hello/:who",
    access: "public",
    handle: async () => ({}),
  });
  await using listeners = await openListeners({
    listeners: [
      { ...listener, resources: ["client"] },
      { ...listener, resources: ["metrics"] },
    ],
    routes: { client: [hello], federation: [], metrics: telemetry.routes, admin: [] },
    commonRoutes: [],
    authenticate: () => assert.fail("asked"),
    rateLimits: { takeFor: async () => undefined },
    log: silentLog,
  });
  const [client, metrics] = listeners.bound;
  times.record(1.5, { kind: "a" });
  await fetch(`${client?.url}/hello/secret-name`);
  await fetch(`${client?.url}/elsewhere`, { method: "PROPFIND" });
  const answer = await fetch(`${metrics?.url}/metrics`);
  assert.match(answer.headers.get("content-type") ?? "", /^text\/plain/);
  const text = await answer.text();
  assert.match(text, /^gomin_test_times_seconds_bucket\{.*kind="a".*le="2".*\} 1/m);
  assert.match(
    text,
    /^http_server_request_duration_seconds_count\{.*http_route="\/hello\/:who".*http_response_status_code="200".*\} 1/m,
  );
  assert.match(text, /http_request_method="_OTHER",http_route="none"/);
  assert.match(text, /^process_resident_memory/m);
  assert.match(text, /^nodejs_eventloop_delay_p99/m);
  assert.doesNotMatch(text, /secret-name/);
});

test("traces are sent where the configuration says, and a request's id is its trace's", async () => {
  let received = Buffer.alloc(0);
  const collector = createServer((request, response) => {
    request.on("data", (chunk: Buffer) => (received = Buffer.concat([received, chunk])));
    request.on("end", () =>
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end(),
    );
  });
  collector.listen(0, "127.0.0.1");
  await once(collector, "listening");
  const { port } = collector.address() as AddressInfo;
  const otel = { ...OFF, endpoint: `http://127.0.0.1:${port}/v1/traces` };
  const telemetry = await startTelemetry({ otel, hasMetrics: false, version: "0" });
  const inner = async (): Promise<Reply> =>
    withSpan("gomin.test.inner", { "gomin.room_id": "!r:a" }, async () => new Reply({}));
  const listeners = await openListeners({
    listeners: [
      {
        port: 0,
        bind_addresses: ["127.0.0.1"],
        tls: { cert: undefined, key: undefined },
        x_forwarded: false,
        trusted_proxies: undefined,
        resources: ["client"],
      },
    ],
    routes: {
      client: [route({ method: "GET", path: "/traced", access: "public", handle: inner })],
      federation: [],
      metrics: [],
      admin: [],
    },
    commonRoutes: [],
    authenticate: () => assert.fail("asked"),
    rateLimits: { takeFor: async () => undefined },
    log: silentLog,
  });
  const answer = await fetch(`${listeners.bound[0]?.url}/traced`);
  const traceId = Buffer.from(answer.headers.get("x-trace-id") ?? "", "hex");
  assert.equal(traceId.length, 16);
  await listeners[Symbol.asyncDispose]();
  await telemetry[Symbol.asyncDispose]();
  assert.equal(isTracing(), false);
  assert.ok(received.includes(traceId), "the trace that the header named");
  assert.ok(received.includes("GET /traced"));
  assert.ok(received.includes("gomin.test.inner"));
  collector.close();
});
