/** The checklist of `docs/security-cases.md`: what holds for every route of a whole server. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, suite, test } from "node:test";
import { gzipSync } from "node:zlib";
import { createLog } from "../../server/log.ts";
import type { Route } from "../../server/route.ts";
import { HttpClient, type HttpResponse } from "../fixtures/http-client.ts";
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import { passwordStage } from "../fixtures/interactive-auth.ts";
import { at, textAt } from "../fixtures/json.ts";
import { roomPath, type TestUser } from "../fixtures/test-user.ts";
import { databaseState, differences } from "../conformance/database-state.ts";

const V3 = "/_matrix/client/v3";

let server: TestServer;
/** The lines that it logged, each as it was written. */
const written: string[] = [];
let alice: TestUser;
let bob: TestUser;
before(async () => {
  const log = createLog({ level: "trace" }, { write: (text) => void written.push(text) });
  server = await startServer({
    log,
    config: {
      listeners: [
        { port: 0, bind_addresses: ["127.0.0.1"], resources: ["client"] },
        { port: 0, bind_addresses: ["127.0.0.1"], resources: ["metrics"] },
      ],
    },
  });
  alice = await server.register("alice");
  bob = await server.register("bob");
});
after(() => server[Symbol.asyncDispose]());

/** A path of a route, with something in the place of its parameters. */
function pathOf({ path }: Pick<Route, "path">): string {
  return path
    .replace(":userId", encodeURIComponent(alice.userId))
    .replace(":roomId", encodeURIComponent(`!x:${server.serverName}`))
    .replaceAll(/:\w+|\*\w+/g, "x");
}

suite("V107: what is no token", () => {
  const AUTHORIZATIONS = [
    "Bearer",
    "Bearer ",
    "Bearer null",
    "Bearer undefined",
    "Bearer a b",
    "Bearer __proto__",
    "Bearer ' or ''='",
    "Basic YWxpY2U6cGFzcw==",
  ];

  test("V107: opens no route, whatever it is", async () => {
    const closed = server.routes.filter(({ access }) => access !== "public");
    assert.ok(closed.length > 50);
    const opened: string[] = [];
    for (const route of closed) {
      const headers: Record<string, string>[] = [
        ...(route.access === "optional" ? [] : [{}]),
        ...AUTHORIZATIONS.filter(
          (each) => route.access !== "optional" || each.startsWith("Bearer "),
        ).map((authorization) => ({ authorization })),
      ];
      const { method } = route;
      const body = method === "GET" ? undefined : {};
      const requests = [
        ...headers.map((each) => ({ path: pathOf(route), headers: each })),
        ...["", "x", "%00", "null"].map((token) => ({
          path: `${pathOf(route)}?access_token=${token}`,
          headers: {},
        })),
      ];
      await Promise.all(
        requests.map(async (request) => {
          const answer = await server.http.send({ method, body, ...request });
          const { status } = answer;
          const code = String(answer.body["errcode"]);
          if (status !== 401 || !/^M_(MISSING|UNKNOWN)_TOKEN$/.test(code)) {
            opened.push(`${method} ${request.path} ${JSON.stringify(request.headers)}: ${status}`);
          }
        }),
      );
    }
    assert.deepEqual(opened, []);
  });

  test("V107: is refused at any length", async () => {
    const path = `${V3}/account/whoami`;
    const long = await server.http.send({
      method: "GET",
      path,
      headers: { authorization: `Bearer ${"x".repeat(15_000)}` },
    });
    assert.equal(long.status, 401);
    const received = await raw(
      `GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${"x".repeat(1024 * 1024)}\r\n\r\n`,
    );
    assert.match(received, /^HTTP\/1\.1 431 /);
  });
});

test("V121: a client does not choose the address that is shown for it", async () => {
  for (const name of ["x-forwarded-for", "x-real-ip", "forwarded", "true-client-ip"]) {
    await alice.request("GET", `${V3}/account/whoami`, undefined, { [name]: "203.0.113.9" });
  }
  const { bytes } = await alice.request("GET", `${V3}/devices`);
  assert.ok(!bytes.includes("203.0.113.9"));
  assert.ok(!written.join("").includes("203.0.113.9"));
});

suite("S02: bodies", () => {
  test("S02: bombs and flood of large ones leave memory as it is", async () => {
    const path = `${V3}/user/${alice.userId}/filter`;
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024, "["));
    await alice.request("POST", path, {});
    const rssBefore = process.memoryUsage.rss();
    const large = Buffer.alloc(1024 * 1024, " ");
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        i % 2 === 0
          ? alice.request("POST", path, bomb, { "content-encoding": "gzip" })
          : alice.request("POST", path, large),
      ),
    );
    assert.ok(answers.every(({ status }, i) => status === (i % 2 === 0 ? 415 : 413)));
    const grownBytes = process.memoryUsage.rss() - rssBefore;
    // Sockets on both ends, in one process; inflated it would be 2.5 GB.
    assert.ok(grownBytes < 150 * 1024 * 1024, `${grownBytes} bytes`);
  });

  test("S02: multipart is refused on every route that reads JSON", async () => {
    const headers = { "content-type": "multipart/form-data; boundary=x" };
    const body = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n{}\r\n--x--\r\n';
    for (const route of server.routes) {
      if (route.body === undefined || route.body === "stream") continue;
      if (route.access === "admin") continue;
      // What reads forms is a page.
      if (!route.path.startsWith("/_matrix/client/") || route.path.includes("/fallback/")) continue;
      const { status } = await alice.request(route.method, pathOf(route), body, headers);
      assert.ok(status >= 400 && status < 500, `${route.method} ${route.path}: ${status}`);
    }
  });
});

test("S03: requests that two readers would read differently are refused", async () => {
  const head = `POST ${V3}/login HTTP/1.1\r\nHost: a\r\n`;
  const smuggled = "0\r\n\r\nGET /_matrix/client/versions HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const request of [
    `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled}`,
    `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   `,
    `${head}Transfer-Encoding: xchunked\r\n\r\n${smuggled}`,
    `${head}Host: b\r\nContent-Length: 2\r\n\r\n{}`,
    `${head}X : y\r\nContent-Length: 2\r\n\r\n{}`,
    `${head}Content-Length: -1\r\n\r\n{}`,
  ]) {
    const received = await raw(request);
    assert.match(received, /^HTTP\/1\.1 (400|501) /, request);
    assert.equal(received.match(/HTTP\/1\.1 /g)?.length, 1, request);
  }
});

test("S08: no key of an object is more than a key", async () => {
  const roomId = await alice.createRoom({ preset: "public_chat" });
  const hostile =
    '{"__proto__":{"isAdmin":true,"polluted":1},"constructor":{"prototype":{"polluted":1}},' +
    '"hasOwnProperty":{},"then":"x","toString":1}';
  const wrapped = (key: string) => `{"${key}":${hostile}}`;
  const requests: [string, string, string][] = [
    ["PUT", roomPath(roomId, "send", "org.example.x", "proto"), hostile],
    ["PUT", roomPath(roomId, "state", "__proto__", "__proto__"), hostile],
    ["PUT", roomPath(roomId, "state", "org.example.x", "constructor"), hostile],
    ["PUT", `${V3}/user/${alice.userId}/account_data/__proto__`, hostile],
    ["PUT", `${V3}/user/${alice.userId}/account_data/org.example.x`, hostile],
    ["PUT", `${V3}/profile/${alice.userId}/org.example.x`, wrapped("org.example.x")],
    ["PUT", `${V3}/profile/${alice.userId}/__proto__`, '{"__proto__":{"polluted":1}}'],
    ["POST", `${V3}/user/${alice.userId}/filter`, wrapped("room")],
    ["POST", `${V3}/createRoom`, wrapped("creation_content")],
    ["POST", `${V3}/createRoom`, wrapped("power_level_content_override")],
    ["PUT", `${V3}/sendToDevice/__proto__/t`, `{"messages":${hostile}}`],
    ["PUT", `${V3}/sendToDevice/x/t`, `{"messages":{"${alice.userId}":${hostile}}}`],
    ["POST", `${V3}/keys/query`, `{"device_keys":${hostile}}`],
    ["POST", `${V3}/keys/claim`, `{"one_time_keys":${hostile}}`],
    ["POST", `${V3}/keys/upload`, `{"one_time_keys":${hostile}}`],
    ["PUT", `${V3}/pushrules/global/override/__proto__`, '{"actions":[],"conditions":[]}'],
    ["POST", `${V3}/login`, hostile],
    ["POST", `${V3}/register`, hostile],
  ];
  for (const [method, path, body] of requests) {
    const { status } = await alice.request(method, path, body);
    assert.ok(status < 500, `${method} ${path}: ${status}`);
    assert.equal(Reflect.get({}, "polluted"), undefined, `${method} ${path}`);
    assert.equal(Reflect.get({}, "isAdmin"), undefined, `${method} ${path}`);
    assert.equal(typeof {}.toString, "function");
  }
  const seen = await alice.request(
    "GET",
    roomPath(roomId, "state", "org.example.x", "constructor"),
  );
  assert.equal(seen.bytes.toString(), hostile);
  for (const path of [`${V3}/sync`, roomPath(roomId, "state")]) {
    assert.equal((await alice.request("GET", path)).status, 200, path);
  }
  const bySuch = await alice.request(
    "GET",
    "/_matrix/client/v1/admin/suspend/%40alice%3Alocalhost",
  );
  assert.equal(bySuch.status, 403);
});

test("S10: text that two parsers would read differently is refused", async () => {
  const path = `${V3}/user/${alice.userId}/account_data/org.example.y`;
  for (const body of [
    '{"a":"\\ud800"}',
    '{"\\udc00":1}',
    '{"a":1,"\\u0061":2}',
    '{"a":1}{"b":2}',
    '{"a":NaN}',
    '{"a":1,}',
    "{'a':1}",
    '{"a":1}//',
    '{"a":01}',
    '\ufeff{"a":1}',
    '{"a":"\t"}',
  ]) {
    const { status } = await alice.request("PUT", path, body);
    assert.equal(status, 400, body);
  }
  assert.equal((await alice.request("GET", path)).status, 404);
});

suite("S13, S15: secrets", () => {
  /** What must stand in no log and not in the database as it is. */
  const secrets: string[] = [];
  /** What is stored, but must not be logged. */
  const words: string[] = [];

  const plant = (list: string[], name: string): string => {
    const secret = `planted-${name}-${list.length}-${Math.random().toString(36).slice(2)}`;
    list.push(secret);
    return secret;
  };

  before(async () => {
    const carol = await server.register("carol", plant(secrets, "password"));
    secrets.push(carol.accessToken);
    const login = { ...passwordStage(carol), refresh_token: true };
    const { body } = await server.http.send({ method: "POST", path: `${V3}/login`, body: login });
    secrets.push(textAt(body, "access_token"), textAt(body, "refresh_token"));
    const refresh = { refresh_token: textAt(body, "refresh_token") };
    const pair = await server.http.send({ method: "POST", path: `${V3}/refresh`, body: refresh });
    secrets.push(textAt(pair.body, "access_token"), textAt(pair.body, "refresh_token"));
    for (const password of [
      plant(secrets, "wrong"),
      `${plant(secrets, "long")}${"x".repeat(600)}`,
    ]) {
      const wrong = { ...passwordStage(carol), password };
      await server.http.send({ method: "POST", path: `${V3}/login`, body: wrong });
    }
    const openId = `${V3}/user/${carol.userId}/openid/request_token`;
    secrets.push(textAt(await carol.call("POST", openId, {}), "access_token"));
    const tokenPath = "/_matrix/client/v1/login/get_token";
    const { session } = (await carol.request("POST", tokenPath, {})).body;
    const auth = { ...passwordStage(carol), session };
    secrets.push(textAt(await carol.call("POST", tokenPath, { auth }), "login_token"));
    const change = { new_password: plant(secrets, "half-way") };
    await carol.request("POST", `${V3}/account/password`, change);
    await server.http.send({
      method: "GET",
      path: `${V3}/account/whoami?access_token=${carol.accessToken}&x=${plant(secrets, "query")}`,
    });
    await server.http.send({
      method: "GET",
      path: `${V3}/nothing?access_token=${plant(secrets, "unknown")}`,
      headers: { authorization: `Bearer ${plant(secrets, "bearer")}` },
    });

    const roomId = await carol.createRoom({ name: plant(words, "name") });
    await carol.send(roomId, plant(words, "message"));
    await carol.request("PUT", roomPath(roomId, "send", "m.room.message", "bad"), {
      body: plant(words, "refused"),
      n: 1.5,
    });
    const data = `${V3}/user/${carol.userId}/account_data/org.example.x`;
    await carol.call("PUT", data, { a: plant(words, "data") });
    await carol.call("PUT", `${V3}/profile/${carol.userId}/displayname`, {
      displayname: plant(words, "display"),
    });
    const messages = { [alice.userId]: { [alice.deviceId]: { key: plant(words, "to-device") } } };
    await carol.call("PUT", `${V3}/sendToDevice/m.x/t`, { messages });
    const media = `/_matrix/media/v3/upload?filename=${plant(words, "file-name")}`;
    await carol.request("POST", media, plant(words, "file"));
    await carol.request("POST", `${V3}/createRoom`, `{"name":"${plant(words, "broken")}"`);

    // A database that fails in the middle of a write quotes what it was given.
    const { pool } = server.database;
    await pool.query("alter table account_data rename to account_data_away");
    const failed = await carol.request("PUT", data, { a: plant(words, "failed") });
    await pool.query("alter table account_data_away rename to account_data");
    assert.equal(failed.status, 500);
    assert.doesNotMatch(failed.bytes.toString(), /planted|account_data|select|insert/i);
    await pool.query(
      "alter table account_data add constraint refuses check (type <> 'org.refused')",
    );
    const refused = await carol.request("PUT", data.replace("org.example.x", "org.refused"), {
      a: plant(words, "constraint"),
    });
    await pool.query("alter table account_data drop constraint refuses");
    assert.equal(refused.status, 500);
    assert.doesNotMatch(refused.bytes.toString(), /planted/);
  });

  test("S13: stand in no line of the log, and every line is one object", async () => {
    const log = written.join("");
    assert.ok(log.includes("/account/whoami"));
    assert.ok(log.includes('"level":"error"'));
    assert.ok(secrets.length > 12 && words.length > 9);
    assert.deepEqual(
      [...secrets, ...words].filter((secret) => log.includes(secret)),
      [],
    );
    for (const line of log.trimEnd().split("\n")) assert.equal(typeof JSON.parse(line), "object");
  });

  test("S13: names with line ends and escapes of terminals stay in their line", async () => {
    const before = written.length;
    await alice.request("GET", `${V3}/profile/%40x%0D%0A%1B%5B31mforged%3Alocalhost`);
    await alice.request("GET", `${V3}/%0D%0Aforged%1B%5B31m`);
    await alice.request("GET", `${V3}/account/whoami`, undefined, {
      "user-agent": "x\u009b31m forged",
    });
    const lines = written.slice(before).join("").trimEnd().split("\n");
    assert.equal(lines.length, 3);
    for (const line of lines) {
      assert.equal(typeof JSON.parse(line), "object");
      // oxlint-disable-next-line no-control-regex -- it is about them
      assert.doesNotMatch(line, /[\u0000-\u001f]/);
    }
  });

  test("S15: stand nowhere in a dump of the database", async () => {
    const dump = await dumpOf(server);
    assert.ok(dump.includes(words[0] ?? ""), "the dump is one");
    assert.deepEqual(
      secrets.filter((secret) => {
        const parts = secret.split("_").filter((part) => part.length >= 16);
        const spellings = [secret, ...parts].flatMap((text) => [
          text,
          Buffer.from(text).toString("hex"),
          Buffer.from(text).toString("base64").replaceAll("=", ""),
        ]);
        return spellings.some((spelling) => dump.includes(spelling));
      }),
      [],
    );
  });
});

test("S20: OPTIONS of every route changes nothing and answers with the headers", async () => {
  const before = await databaseState(server.database);
  const body = passwordStage(alice);
  for (const route of server.routes) {
    if (!route.path.startsWith("/_matrix/client/")) continue;
    const answer = await alice.request("OPTIONS", pathOf(route), body);
    assert.equal(answer.status, 204, route.path);
    assert.equal(answer.headers["access-control-allow-origin"], "*", route.path);
    assert.match(String(answer.headers["access-control-allow-headers"]), /Authorization/);
    assert.equal(answer.headers["access-control-allow-credentials"], undefined);
  }
  assert.deepEqual(differences(before, await databaseState(server.database)), []);
  assert.equal((await alice.request("GET", `${V3}/account/whoami`)).status, 200);
});

test("S22: a listener serves what it is for, and metrics nowhere else", async () => {
  const [client, metrics] = server.urls;
  assert.ok(client !== undefined && metrics !== undefined);
  const status = async (url: string, path: string): Promise<number> => {
    using http = new HttpClient(url);
    return (await http.send({ method: "GET", path })).status;
  };
  assert.equal(await status(client, "/metrics"), 404);
  assert.equal(await status(metrics, "/metrics"), 200);
  assert.equal(await status(metrics, "/_matrix/client/versions"), 404);
  assert.equal(await status(metrics, `${V3}/account/whoami`), 404);
  for (const path of ["/_matrix/federation/v1/version", "/_matrix/key/v2/server"]) {
    assert.equal(await status(client, path), 404);
  }
  for (const url of [client, metrics]) {
    assert.equal(await status(url, "/health"), 200);
    assert.equal(await status(url, "/ready"), 200);
  }
});

test("S32: who knows a name knows no more of the account", async () => {
  const attempt = (user: string): Promise<HttpResponse> =>
    server.http.send({
      method: "POST",
      path: `${V3}/login`,
      body: { ...passwordStage({ userId: user, password: "wrong password" }) },
    });
  const known = await attempt(bob.userId);
  for (const user of [`@nobody:${server.serverName}`, "nobody", "@bob:elsewhere.example"]) {
    const unknown = await attempt(user);
    assert.deepEqual([unknown.status, unknown.body], [known.status, known.body], user);
  }
  assert.deepEqual([known.status, known.body["errcode"]], [403, "M_FORBIDDEN"]);
  assert.equal(at(known.body, "user_id"), undefined);
});

async function dumpOf({ database: { pool } }: TestServer): Promise<string> {
  const { rows: tables } = await pool.query<{ name: string }>(
    `select table_name as name from information_schema.tables
     where table_schema = 'public' and table_type = 'BASE TABLE'`,
  );
  const dumps = tables.map(async ({ name }) => {
    const { rows } = await pool.query<{ row: string }>(`select t::text as row from "${name}" t`);
    return rows.map(({ row }) => row).join("\n");
  });
  return (await Promise.all(dumps)).join("\n");
}

/** Sends bytes as they are, and gives what comes back until the connection ends or rests. */
async function raw(text: string): Promise<string> {
  const { hostname, port } = new URL(server.baseUrl);
  const socket = connect(Number(port), hostname);
  let received = "";
  return new Promise((resolve) => {
    const done = (): void => {
      socket.destroy();
      resolve(received);
    };
    socket.setTimeout(1000, done);
    socket.on("data", (data: Buffer) => (received += data.toString("latin1")));
    socket.on("error", done);
    socket.on("close", done);
    socket.write(text, "latin1");
  });
}
