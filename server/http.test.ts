import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { Readable } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { MatrixError } from "../spec/errors.ts";
import { array, integer, object, optional, queryInteger, string } from "../spec/shape.ts";
import { createHttp, type HttpOptions, type TokenUse } from "./http.ts";
import { createLog, noteRequest } from "./log.ts";
import { type Caller, ClientGone, Draining, Reply, type Route, route } from "./route.ts";
import { until } from "./testing.ts";

const ALICE: Caller = {
  userId: "@alice:a",
  deviceId: "D",
  tokenId: 1,
  isAdmin: false,
  isGuest: false,
  isSuspended: false,
};

interface Running extends AsyncDisposable {
  port: number;
  /** Log lines, as objects. */
  lines: Record<string, unknown>[];
  release(which: "longPolls" | "all"): void;
  get(path: string, init?: RequestInit): Promise<Answer>;
  /** Sends bytes as they are, and gives all that comes back. */
  raw(...chunks: string[]): Promise<string>;
}

interface Answer {
  status: number;
  headers: Headers;
  text: string;
  json: Record<string, unknown>;
}

async function serve(routes: Route[], options: Partial<HttpOptions> = {}): Promise<Running> {
  const lines: Record<string, unknown>[] = [];
  const log = createLog({ level: "debug" }, { write: (line) => lines.push(JSON.parse(line)) });
  const http = createHttp({
    routes,
    rateLimits: { takeFor: async () => undefined },
    authenticate: async (token) => {
      if (token === "good") return ALICE;
      throw new MatrixError("M_UNKNOWN_TOKEN", "Unknown token");
    },
    log,
    ...options,
  });
  const server = createServer(http.listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    lines,
    release: http.release,
    async get(path, init) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
      const text = await response.text();
      const isJson = response.headers.get("content-type") === "application/json";
      const json = isJson && text !== "" ? JSON.parse(text) : {};
      return { status: response.status, headers: response.headers, text, json };
    },
    async raw(...chunks) {
      const socket = connect(port, "127.0.0.1");
      const closed = once(socket, "close");
      let received = "";
      let heardAt = performance.now();
      socket.on("data", (data: Buffer) => {
        received += data.toString("latin1");
        heardAt = performance.now();
      });
      socket.on("error", () => undefined);
      for (const chunk of chunks) {
        socket.write(chunk, "latin1");
        await sleep(20);
      }
      const silence = until(() => () => performance.now() - heardAt > 200);
      await Promise.race([closed, silence]);
      socket.destroy();
      await silence;
      return received;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const ok = route({
  method: "GET",
  path: "/_matrix/client/v3/ok",
  access: "public",
  handle: async () => ({}),
});

function post(overrides: Partial<Route> = {}): Route {
  return {
    method: "POST",
    path: "/_matrix/client/v3/post",
    access: "public",
    body: object({ n: integer() }),
    handle: async ({ body }) => body,
    ...overrides,
  };
}

test("an answer is JSON with a trace id of its own, and is not stored", async () => {
  await using server = await serve([ok]);
  const one = await server.get("/_matrix/client/v3/ok");
  const two = await server.get("/_matrix/client/v3/ok");
  assert.equal(one.status, 200);
  assert.equal(one.text, "{}");
  assert.equal(one.headers.get("content-type"), "application/json");
  assert.equal(one.headers.get("cache-control"), "no-store");
  assert.equal(one.headers.get("x-content-type-options"), "nosniff");
  assert.match(one.headers.get("x-trace-id") ?? "", /^[0-9a-f]{32}$/);
  assert.notEqual(one.headers.get("x-trace-id"), two.headers.get("x-trace-id"));
});

test("text beyond ASCII is sent whole", async () => {
  const body = { body: "héllo 😀 \u0000" };
  await using server = await serve([
    route({ method: "GET", path: "/x", access: "public", handle: async () => body }),
  ]);
  assert.deepEqual((await server.get("/x")).json, body);
});

test("an unknown path is 404 and a known one with another method 405, both M_UNRECOGNIZED", async () => {
  await using server = await serve([ok, post({ path: "/_matrix/client/v3/ok" })]);
  const unknown = await server.get("/_matrix/client/v3/nothing");
  assert.equal(unknown.status, 404);
  assert.equal(unknown.json["errcode"], "M_UNRECOGNIZED");
  for (const method of ["PUT", "DELETE", "PATCH"]) {
    const other = await server.get("/_matrix/client/v3/ok", { method });
    assert.equal(other.status, 405);
    assert.equal(other.json["errcode"], "M_UNRECOGNIZED");
    assert.equal(other.headers.get("allow"), "GET, POST, OPTIONS");
  }
});

test("S20: client paths have the three headers on answers, errors and 404", async () => {
  await using server = await serve([ok, post()]);
  for (const answer of [
    await server.get("/_matrix/client/v3/ok"),
    await server.get("/_matrix/client/v3/nothing"),
    await server.get("/_matrix/client/v3/ok", { method: "PUT" }),
    await server.get("/_matrix/client/v3/post", { method: "POST", body: "{" }),
    await server.get("/_matrix/media/v3/nothing"),
    await server.get("/.well-known/matrix/client"),
    await server.get("/_matrix/client/v3/ok", { method: "OPTIONS" }),
    await server.get("/_matrix/client/v3/nothing", { method: "OPTIONS" }),
  ]) {
    assert.equal(answer.headers.get("access-control-allow-origin"), "*");
    assert.equal(
      answer.headers.get("access-control-allow-methods"),
      "GET, POST, PUT, DELETE, OPTIONS",
    );
    assert.equal(
      answer.headers.get("access-control-allow-headers"),
      "X-Requested-With, Content-Type, Authorization",
    );
    assert.equal(answer.headers.has("access-control-allow-credentials"), false);
  }
});

test("S20: paths of administrators and servers have none of them", async () => {
  await using server = await serve([ok]);
  for (const path of [
    "/_synapse/admin/v1/x",
    "/_matrix/federation/v1/x",
    "/_matrix/key/v2/server",
    "/",
  ]) {
    const answer = await server.get(path);
    assert.equal(answer.headers.has("access-control-allow-origin"), false, path);
  }
});

test("S20: OPTIONS runs no logic, whatever it bears", async () => {
  let calls = 0;
  const count = async (): Promise<unknown> => (calls += 1);
  await using server = await serve([post({ handle: count, access: "user" })], {
    rateLimits: { takeFor: () => assert.fail("limited") },
    authenticate: () => assert.fail("asked"),
  });
  const answer = await server.get("/_matrix/client/v3/post?access_token=x", {
    method: "OPTIONS",
    body: '{"n":1}',
  });
  assert.equal(answer.status, 204);
  assert.equal(answer.text, "");
  assert.equal(calls, 0);
});

test("HEAD answers as GET does, without a body", async () => {
  await using server = await serve([
    route({ method: "GET", path: "/x", access: "public", handle: async () => ({ a: 1 }) }),
  ]);
  const answer = await server.get("/x", { method: "HEAD" });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("content-length"), "7");
  assert.equal(answer.text, "");
});

test("a token comes in the header, in any case, or in the query; the header goes before", async () => {
  const seen: string[] = [];
  await using server = await serve([{ ...ok, access: "user" }], {
    async authenticate(token) {
      seen.push(token);
      return ALICE;
    },
  });
  const path = "/_matrix/client/v3/ok";
  await server.get(path, { headers: { authorization: "Bearer one" } });
  await server.get(path, { headers: { authorization: "bEaReR two" } });
  await server.get(`${path}?access_token=th%2Free`);
  await server.get(`${path}?access_token=no`, { headers: { authorization: "Bearer four" } });
  await server.get(`${path}?access_token=five`, { headers: { authorization: "Basic abc" } });
  assert.deepEqual(seen, ["one", "two", "th/ree", "four", "five"]);
});

test("V107: an absent, empty or strange token is 401", async () => {
  await using server = await serve([{ ...ok, access: "user" }]);
  const path = "/_matrix/client/v3/ok";
  for (const [target, headers, errcode] of [
    [path, {}, "M_MISSING_TOKEN"],
    [path, { authorization: "Bearer " }, "M_MISSING_TOKEN"],
    [path, { authorization: "Bearer" }, "M_MISSING_TOKEN"],
    [path, { authorization: "Basic good" }, "M_MISSING_TOKEN"],
    [`${path}?access_token=`, {}, "M_MISSING_TOKEN"],
    [`${path}?access_token=%00`, {}, "M_UNKNOWN_TOKEN"],
    [path, { authorization: `Bearer ${"x".repeat(12_000)}` }, "M_UNKNOWN_TOKEN"],
  ] as const) {
    const answer = await server.get(target, { headers });
    assert.equal(answer.status, 401, target);
    assert.equal(answer.json["errcode"], errcode);
  }
});

test("who may call: anyone, anyone with a good token if with any, users, administrators", async () => {
  const callers: unknown[] = [];
  const path = (access: string): string => `/_matrix/client/v3/${access}`;
  const accesses = ["public", "optional", "user", "user-even-locked", "admin"] as const;
  await using server = await serve(
    accesses.map((access) => ({
      method: "GET",
      path: path(access),
      access,
      async handle({ caller }) {
        callers.push(caller?.userId);
        return {};
      },
    })),
  );
  const status = async (access: string, token?: string): Promise<number> =>
    (await server.get(path(access), token ? { headers: { authorization: `Bearer ${token}` } } : {}))
      .status;
  assert.equal(await status("public"), 200);
  assert.equal(await status("public", "bad"), 200);
  assert.equal(await status("optional"), 200);
  assert.equal(await status("optional", "bad"), 401);
  assert.equal(await status("optional", "good"), 200);
  assert.equal(await status("user", "good"), 200);
  assert.equal(await status("user-even-locked", "good"), 200);
  assert.equal(await status("admin", "good"), 403);
  assert.deepEqual(callers, [undefined, undefined, undefined, "@alice:a", "@alice:a", "@alice:a"]);
});

test("whoever looks at a token learns whom it wants to act as, and from where", async () => {
  const uses: TokenUse[] = [];
  await using server = await serve([{ ...ok, access: "user-even-locked" }], {
    async authenticate(_token, use) {
      uses.push(use);
      return ALICE;
    },
  });
  await server.get("/_matrix/client/v3/ok?user_id=%40b%3Aa&device_id=D", {
    headers: {
      authorization: "Bearer x",
      "user-agent": "test/1",
      "x-forwarded-for": "203.0.113.9",
    },
  });
  assert.deepEqual(uses, [
    {
      userIdParam: "@b:a",
      deviceIdParam: "D",
      evenLocked: true,
      clientAddress: "127.0.0.1",
      userAgent: "test/1",
    },
  ]);
});

test("a refusal comes in the order: method, token, limit, path, query, body", async () => {
  let isLimited = true;
  const strict: Route = {
    ...post(),
    path: "/_matrix/client/v3/strict/:n",
    access: "user",
    rateLimit: "rc_message",
    params: object({ n: queryInteger() }),
    query: object({ q: queryInteger() }),
  };
  await using server = await serve([strict], {
    rateLimits: {
      async takeFor(name, { caller }) {
        assert.equal(name, "rc_message");
        assert.equal(caller?.userId, "@alice:a");
        if (!isLimited) return;
        throw new MatrixError("M_LIMIT_EXCEEDED", "slow", { fields: { retry_after_ms: 1500 } });
      },
    },
  });
  const ask = async (target: string, token: string, body: string): Promise<unknown[]> => {
    const init = { method: "POST", body, headers: { authorization: `Bearer ${token}` } };
    const { status, json } = await server.get(`/_matrix/client/v3/strict/${target}`, init);
    return [status, json["errcode"]];
  };
  assert.deepEqual(await ask("x?q=x", "bad", "{"), [401, "M_UNKNOWN_TOKEN"]);
  assert.deepEqual(await ask("x?q=x", "good", "{"), [429, "M_LIMIT_EXCEEDED"]);
  isLimited = false;
  assert.deepEqual(await ask("x?q=x", "good", "{"), [400, "M_INVALID_PARAM"]);
  assert.deepEqual(await ask("1", "good", "{"), [400, "M_MISSING_PARAM"]);
  assert.deepEqual(await ask("1?q=1", "good", "{"), [400, "M_NOT_JSON"]);
  assert.deepEqual(await ask("1?q=1", "good", '{"n":"x"}'), [400, "M_BAD_JSON"]);
  assert.deepEqual(await ask("1?q=1", "good", "{}"), [400, "M_MISSING_PARAM"]);
  assert.deepEqual(await ask("1?q=1", "good", '{"n":1}'), [200, undefined]);
});

test("a limit says when to come again", async () => {
  await using server = await serve([{ ...ok, rateLimit: "rc_message" }], {
    rateLimits: {
      async takeFor() {
        throw new MatrixError("M_LIMIT_EXCEEDED", "slow", { fields: { retry_after_ms: 1500 } });
      },
    },
  });
  const answer = await server.get("/_matrix/client/v3/ok");
  assert.equal(answer.headers.get("retry-after"), "2");
  assert.equal(answer.json["retry_after_ms"], 1500);
});

test("parameters of a path are decoded after it is split", async () => {
  await using server = await serve([
    route({
      method: "GET",
      path: "/_matrix/client/v3/rooms/:room/state/:type/:key",
      access: "public",
      params: object({ room: string, type: string, key: string }),
      handle: async ({ params }) => params,
    }),
    route({
      method: "GET",
      path: "/files/:id/*rest",
      access: "public",
      params: object({ id: string, rest: string }),
      handle: async ({ params }) => params,
    }),
  ]);
  const path = "/_matrix/client/v3/rooms/%21a%2Fb%3Ac/state/m+x/";
  assert.deepEqual((await server.get(path)).json, { room: "!a/b:c", type: "m+x", key: "" });
  assert.deepEqual((await server.get(`${path}%F0%9F%98%80`)).json["key"], "😀");
  assert.deepEqual((await server.get("/files/1/a/b%20c")).json, { id: "1", rest: "a/b c" });
  for (const bad of ["%FF", "%", "%C0%AF", "%ED%A0%80"]) {
    const answer = await server.get(`${path}${bad}`);
    assert.equal(answer.status, 400, bad);
    assert.equal(answer.json["errcode"], "M_INVALID_PARAM");
  }
});

test("a query may hold any name, repeat it, and must be UTF-8", async () => {
  await using server = await serve([
    {
      ...ok,
      query: { read: (value) => value },
      handle: async ({ query }) => Object.entries(query as object),
    },
  ]);
  const path = "/_matrix/client/v3/ok";
  const read = async (query: string): Promise<unknown> =>
    (await server.get(`${path}?${query}`)).json;
  assert.deepEqual(await read("a=1&b=x+y%2B&a=2&&c&a=3&=e"), [
    ["a", ["1", "2", "3"]],
    ["b", "x y+"],
    ["c", ""],
    ["", "e"],
  ]);
  assert.deepEqual(await read("__proto__=1&constructor=2"), [
    ["__proto__", "1"],
    ["constructor", "2"],
  ]);
  assert.equal((await server.get(`${path}?a=%FF`)).status, 400);
  assert.equal((await server.get(`${path}?${"a&".repeat(300)}`)).status, 400);
});

test("S02: a body may be 64 KiB long, or as long as its route allows, and not a byte more", async () => {
  const any = post({ body: array(string) });
  await using server = await serve([
    any,
    { ...any, path: "/_matrix/client/v3/large", maxBodyBytes: 100_000 },
  ]);
  const send = async (path: string, bytes: number): Promise<number> => {
    const body = `["${"x".repeat(bytes - 4)}"]`;
    return (await server.get(`/_matrix/client/v3/${path}`, { method: "POST", body })).status;
  };
  assert.equal(await send("post", 65_536), 200);
  assert.equal(await send("post", 65_537), 413);
  assert.equal(await send("large", 100_000), 200);
  assert.equal(await send("large", 100_001), 413);
});

test("S02: a body without a length is stopped at the limit", async () => {
  await using server = await serve([post()]);
  const head =
    "POST /_matrix/client/v3/post HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  const chunk = `8000\r\n${"x".repeat(0x8000)}\r\n`;
  const received = await server.raw(head, chunk, chunk, "1\r\nx\r\n0\r\n\r\n");
  assert.match(received, /^HTTP\/1\.1 413 [^]*M_TOO_LARGE/);
});

test("S02: a compressed body is refused unread", async () => {
  await using server = await serve([
    post(),
    post({ path: "/_matrix/client/v3/s", body: "stream" }),
  ]);
  for (const encoding of ["gzip", "deflate", "br", "identity, gzip"]) {
    for (const path of ["post", "s"]) {
      const answer = await server.get(`/_matrix/client/v3/${path}`, {
        method: "POST",
        body: gzipSync('{"n":1}'),
        headers: { "content-encoding": encoding },
      });
      assert.equal(answer.status, 415, encoding);
    }
  }
});

test("V134: a multipart body is refused where JSON is expected", async () => {
  await using server = await serve([post()]);
  const body = new FormData();
  body.set("n", "1");
  const answer = await server.get("/_matrix/client/v3/post", { method: "POST", body });
  assert.equal(answer.status, 400);
  assert.equal(answer.json["errcode"], "M_NOT_JSON");
});

test("a body need not say that it is JSON, but must be", async () => {
  await using server = await serve([
    post(),
    post({
      path: "/_matrix/client/v3/empty",
      emptyBody: true,
      body: object({ n: optional(integer()) }),
    }),
  ]);
  const send = async (
    body: string | Uint8Array<ArrayBuffer>,
    path = "post",
  ): Promise<unknown[]> => {
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const init = { method: "POST", body, headers };
    const { status, json } = await server.get(`/_matrix/client/v3/${path}`, init);
    return [status, json["errcode"]];
  };
  assert.deepEqual(await send('{"n":1}'), [200, undefined]);
  assert.deepEqual(await send(""), [400, "M_NOT_JSON"]);
  assert.deepEqual(await send("", "empty"), [200, undefined]);
  assert.deepEqual(await send("[1]"), [400, "M_BAD_JSON"]);
  assert.deepEqual(await send("null"), [400, "M_BAD_JSON"]);
  // V007: a duplicate key. V008: bad UTF-8. V011: deep nesting.
  assert.equal((await send('{"n":1,"n":1}'))[0], 400);
  assert.equal((await send(new Uint8Array([0x22, 0xff, 0x22])))[0], 400);
  assert.equal((await send("[".repeat(60_000)))[0], 400);
  assert.deepEqual(await send('{"n":1,"__proto__":{"x":1}}'), [200, undefined]);
});

test("a body that nobody reads does not hold up the next request", async () => {
  await using server = await serve([{ ...post(), path: "/a", body: undefined }, ok] as Route[]);
  const body = "x".repeat(100_000);
  const received = await server.raw(
    `POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    "GET /_matrix/client/v3/ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
  );
  assert.equal(received.match(/HTTP\/1\.1 (?:200|500)/g)?.length, 2);
});

test("a MatrixError is its status and body; what it was caused by stays inside", async () => {
  await using server = await serve([
    {
      ...ok,
      async handle() {
        throw new MatrixError("M_INCOMPATIBLE_ROOM_VERSION", "no", {
          fields: { room_version: "9" },
          cause: new Error("secret"),
        });
      },
    },
  ]);
  const answer = await server.get("/_matrix/client/v3/ok");
  assert.equal(answer.status, 400);
  assert.deepEqual(answer.json, {
    errcode: "M_INCOMPATIBLE_ROOM_VERSION",
    error: "no",
    room_version: "9",
  });
});

test("anything else that is thrown is 500 with a trace id; the log has it with all its causes", async () => {
  await using server = await serve([
    {
      ...ok,
      async handle() {
        const inner = Object.assign(new Error("inner"), {
          code: "23505",
          detail: "planted-secret",
        });
        throw new TypeError("outer", { cause: inner });
      },
    },
    { ...ok, path: "/odd", handle: () => Promise.reject("just a text") },
    { ...ok, path: "/nothing", handle: async () => undefined },
    {
      ...ok,
      path: "/sync",
      handle() {
        throw new Error("thrown before there is a promise");
      },
    },
  ]);
  const answer = await server.get("/_matrix/client/v3/ok");
  const traceId = answer.headers.get("x-trace-id");
  assert.equal(answer.status, 500);
  assert.deepEqual(answer.json, {
    errcode: "M_UNKNOWN",
    error: `Internal server error; trace id ${traceId}`,
  });
  for (const path of ["/odd", "/nothing", "/sync"]) {
    assert.equal((await server.get(path)).status, 500);
  }
  const line = server.lines.find((l) => l["traceId"] === traceId);
  assert.equal(line?.["level"], "error");
  const { type, message, causes } = (line?.["err"] ?? {}) as Record<string, unknown>;
  assert.deepEqual([type, message], ["TypeError", "outer"]);
  const [cause] = causes as Record<string, unknown>[];
  assert.deepEqual([cause?.["message"], cause?.["code"]], ["inner", "23505"]);
  assert.doesNotMatch(JSON.stringify(server.lines), /planted-secret/);
});

test("an error that others can name is answered by that name", async () => {
  await using server = await serve(
    [{ ...ok, handle: () => Promise.reject(new Error("database is away")) }],
    { translate: (cause) => new MatrixError("M_UNKNOWN", "later", { status: 503, cause }) },
  );
  const answer = await server.get("/_matrix/client/v3/ok");
  assert.equal(answer.status, 503);
  assert.equal(answer.headers.get("retry-after"), "1");
  assert.equal(server.lines.at(-1)?.["level"], "error");
});

test("S13: a request is one line, with no token, no query and no line break", async () => {
  await using server = await serve([
    {
      method: "GET",
      path: "/_matrix/client/v3/rooms/:roomId/x/:sessionId",
      access: "user",
      async handle() {
        noteRequest({ events: 3 });
        return {};
      },
    },
  ]);
  await server.get(
    "/_matrix/client/v3/rooms/!a%0D%0A%1B[31m/x/planted1?access_token=good&q=planted2",
    {
      headers: { "user-agent": "evil\u00a0planted3" },
    },
  );
  await server.get("/_matrix/client/v3/x?access_token=planted4", {
    headers: { authorization: "Bearer planted5" },
  });
  await until(() => () => server.lines.length === 2);
  const [line] = server.lines;
  assert.equal(line?.["user"], "@alice:a");
  assert.equal(line?.["roomId"], "!a\r\n\u001b[31m");
  assert.equal(line?.["status"], 200);
  assert.equal(line?.["events"], 3);
  assert.equal(line?.["route"], "/_matrix/client/v3/rooms/:roomId/x/:sessionId");
  assert.doesNotMatch(JSON.stringify(server.lines), /planted/);
});

test("a reply has its own status, headers and bytes", async () => {
  const reply =
    (body: unknown, options = {}) =>
    async (): Promise<Reply> =>
      new Reply(body, options);
  await using server = await serve([
    { ...ok, path: "/json", handle: reply({ a: 1 }, { status: 202 }) },
    { ...ok, path: "/bytes", handle: reply(Buffer.from('{"b":2}')) },
    {
      ...ok,
      path: "/png",
      handle: reply(Buffer.from([1, 2]), {
        headers: { "Content-Type": "image/png", "Cache-Control": "public, max-age=60" },
      }),
    },
    {
      ...ok,
      path: "/moved",
      handle: reply(undefined, { status: 302, headers: { location: "/x" } }),
    },
    { ...ok, path: "/none", handle: reply(undefined, { status: 204 }) },
    { ...ok, path: "/same", handle: reply(undefined, { status: 304, headers: { etag: '"x"' } }) },
  ]);
  const json = await server.get("/json");
  assert.deepEqual([json.status, json.json], [202, { a: 1 }]);
  assert.deepEqual((await server.get("/bytes")).json, { b: 2 });
  const png = await server.get("/png");
  assert.equal(png.headers.get("content-type"), "image/png");
  assert.equal(png.headers.get("cache-control"), "public, max-age=60");
  const moved = await server.get("/moved", { redirect: "manual" });
  assert.deepEqual([moved.status, moved.headers.get("location")], [302, "/x"]);
  assert.equal((await server.get("/none")).status, 204);
  assert.equal((await server.get("/same")).status, 304);
});

test("a stream is passed on; where it fails before its first byte the answer is an error", async () => {
  let destroyed = 0;
  const stream = (chunks: (string | Error)[]) => async (): Promise<Reply> => {
    const body = Readable.from(
      (async function* () {
        for (const chunk of chunks) {
          await sleep(5);
          if (chunk instanceof Error) throw chunk;
          yield Buffer.from(chunk);
        }
      })(),
    );
    body.once("close", () => (destroyed += 1));
    return new Reply(body, { headers: { "content-type": "text/plain" } });
  };
  await using server = await serve([
    { ...ok, path: "/good", handle: stream(["one ", "two"]) },
    { ...ok, path: "/empty", handle: stream([]) },
    { ...ok, path: "/bad", handle: stream([new Error("gone")]) },
    { ...ok, path: "/broken", handle: stream(["half", new Error("gone")]) },
  ]);
  const good = await server.get("/good");
  assert.deepEqual([good.status, good.text], [200, "one two"]);
  assert.equal((await server.get("/good", { method: "HEAD" })).text, "");
  assert.deepEqual((await server.get("/empty")).text, "");
  assert.equal((await server.get("/bad")).status, 500);
  await assert.rejects(server.get("/broken"));
  await until(() => () => destroyed === 5);
  const isLogged = (line: Record<string, unknown>): boolean =>
    line["route"] === "/broken" && line["status"] === 500;
  await until(() => () => server.lines.some(isLogged));
});

test("a handler that waits hears that its client has gone", async () => {
  const reasons: unknown[] = [];
  await using server = await serve([
    {
      ...ok,
      async handle({ signal }) {
        await once(signal, "abort");
        reasons.push(signal.reason);
        throw signal.reason;
      },
    },
  ]);
  const request = httpRequest({ port: server.port, path: "/_matrix/client/v3/ok" });
  request.on("error", () => undefined).end();
  await sleep(50);
  request.destroy();
  await until(() => () => reasons.length === 1);
  assert.ok(reasons[0] instanceof ClientGone);
  await until(() => () => server.lines.length === 1);
  assert.deepEqual([server.lines[0]?.["status"], server.lines[0]?.["level"]], [499, "info"]);
});

test("a server that stops asks those that wait for news first, and the others later", async () => {
  const wait = async ({ signal }: { signal: AbortSignal }): Promise<unknown> => {
    if (!signal.aborted) await once(signal, "abort");
    if (signal.reason instanceof Draining) return { released: true };
    throw signal.reason;
  };
  await using server = await serve([
    { ...ok, path: "/news", longPoll: true, handle: wait },
    { ...ok, path: "/work", handle: wait },
    {
      ...ok,
      path: "/careless",
      handle: ({ signal }) => wait({ signal }).then(() => Promise.reject(signal.reason)),
    },
  ]);
  const news = server.get("/news");
  const work = server.get("/work");
  const careless = server.get("/careless");
  await sleep(100);
  server.release("longPolls");
  const answer = await news;
  assert.deepEqual(answer.json, { released: true });
  assert.equal((await server.get("/news")).headers.get("connection"), "close");
  assert.equal(await Promise.race([work, sleep(50, "still at work")]), "still at work");
  server.release("all");
  assert.equal((await work).status, 200);
  const refused = await careless;
  assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "1"]);
});

test("S03: more than 100 headers, a second Host or a second Authorization are refused", async () => {
  await using server = await serve([ok]);
  const ask = (headers: string): Promise<string> =>
    server.raw(
      `GET /_matrix/client/v3/ok HTTP/1.1\r\nHost: a\r\n${headers}Connection: close\r\n\r\n`,
    );
  assert.match(await ask(""), /^HTTP\/1\.1 200/);
  assert.match(await ask("X-A: b\r\n".repeat(98)), /^HTTP\/1\.1 200/);
  assert.match(await ask("X-A: b\r\n".repeat(99)), /^HTTP\/1\.1 431/);
  assert.match(await ask("Host: b\r\n"), /^HTTP\/1\.1 400/);
  const twice = "Authorization: Bearer a\r\nauthorization: Bearer b\r\n";
  assert.match(await ask(twice), /^HTTP\/1\.1 400/);
});

test("the target of a request may be a whole URL, and odd ones do no harm", async () => {
  await using server = await serve([ok]);
  const ask = (target: string): Promise<string> =>
    server.raw(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  assert.match(await ask("http://a/_matrix/client/v3/ok?x=1"), /^HTTP\/1\.1 200/);
  for (const target of [
    "*",
    "//",
    "/../..",
    "http://",
    "/%",
    "/_matrix/client/v3/ok/",
    "/;",
    "?",
  ]) {
    assert.match(await ask(target), /^HTTP\/1\.1 40[04]/, target);
  }
});

test("two routes of one method and path are a mistake that is found at the start", () => {
  const options = {
    rateLimits: { takeFor: async () => undefined },
    authenticate: async () => ALICE,
    log: createLog({}, { write: () => undefined }),
  };
  const other = { ...ok, path: "/_matrix/client/r0/ok", aliases: ["/_matrix/client/v3/ok"] };
  assert.throws(() => createHttp({ ...options, routes: [ok, other] }), /two routes/);
});
