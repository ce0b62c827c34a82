import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { after, suite, test } from "node:test";
import { gzipSync } from "node:zlib";
import sharp from "sharp";
import { alice, HERE, openMediaWorld } from "../server/media/testing.ts";
import { MatrixError } from "../spec/errors.ts";
import type { JsonObject } from "../spec/shape.ts";
import { contentRepository } from "./content-repository.ts";
import { serveRoutes } from "./testing.ts";

const world = await openMediaWorld();
const media = world.open({ settings: { requiresAuthentication: false } });
const routes = contentRepository(media);
const http = await serveRoutes(routes, async (token) => {
  if (token !== "alice") throw new MatrixError("M_UNKNOWN_TOKEN", "unknown token");
  return { ...alice, deviceId: "D", tokenId: 1, isAdmin: false };
});
after(async () => {
  await http[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

interface Answer {
  status: number;
  headers: Headers;
  bytes: Buffer;
  body: JsonObject;
}

async function call(
  method: string,
  path: string,
  options: {
    headers?: Record<string, string>;
    body?: string | Uint8Array<ArrayBuffer>;
    token?: string | undefined;
  } = {},
): Promise<Answer> {
  const token = "token" in options ? options.token : "alice";
  const response = await fetch(http.url + path, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...options.headers,
    },
    body: options.body ?? null,
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const isJson = response.headers.get("content-type") === "application/json";
  const body = isJson ? (JSON.parse(bytes.toString()) as JsonObject) : {};
  return { status: response.status, headers: response.headers, bytes, body };
}

async function upload(
  body: string | Uint8Array<ArrayBuffer>,
  type?: string,
  query = "",
): Promise<string> {
  const headers = type === undefined ? undefined : { "content-type": type };
  const path = `/_matrix/media/v3/upload${query}`;
  const answer = await call("POST", path, { body, ...(headers === undefined ? {} : { headers }) });
  assert.equal(answer.status, 200, answer.bytes.toString());
  assert.deepEqual(Object.keys(answer.body), ["content_uri"]);
  return String(answer.body["content_uri"]).slice("mxc://".length);
}

const image = new Uint8Array(
  await sharp({ create: { width: 500, height: 500, channels: 3, background: "red" } })
    .png()
    .toBuffer(),
);
const THUMBNAIL = "?width=32&height=32&method=crop";

function refused(answer: Answer, status: number, errcode: string): void {
  assert.equal(answer.body["errcode"], errcode, JSON.stringify(answer.body));
  assert.equal(answer.status, status);
}

suite("uploading", () => {
  test("each path gives a URI under which the file is found", async () => {
    for (const version of ["v3", "r0", "v1"]) {
      const answer = await call("POST", `/_matrix/media/${version}/upload?filename=a.txt`, {
        body: "hello",
        headers: { "content-type": "text/plain" },
      });
      assert.equal(answer.status, 200);
      const name = String(answer.body["content_uri"]).slice("mxc://".length);
      const found = await call("GET", `/_matrix/client/v1/media/download/${name}`);
      assert.equal(found.bytes.toString(), "hello");
      assert.equal(found.headers.get("content-type"), "text/plain");
      assert.equal(found.headers.get("content-disposition"), 'inline; filename="a.txt"');
    }
  });

  test("a created file is uploaded by PUT, once", async () => {
    const created = await call("POST", "/_matrix/media/v1/create");
    assert.deepEqual(Object.keys(created.body), ["content_uri", "unused_expires_at"]);
    assert.ok(Number.isInteger(created.body["unused_expires_at"]));
    const name = String(created.body["content_uri"]).slice("mxc://".length);
    const early = await call("GET", `/_matrix/client/v1/media/download/${name}?timeout_ms=0`);
    refused(early, 504, "M_NOT_YET_UPLOADED");
    const path = `/_matrix/media/v3/upload/${name}`;
    const put = await call("PUT", `${path}?filename=x.png`, { body: image });
    assert.deepEqual([put.status, put.body], [200, {}]);
    refused(await call("PUT", path, { body: "again" }), 409, "M_CANNOT_OVERWRITE_MEDIA");
    const found = await call("GET", `/_matrix/client/v1/media/download/${name}`);
    assert.deepEqual(new Uint8Array(found.bytes), image);
  });

  test("S02: a file that says that it is too large is refused before it is sent", async () => {
    const answer = await call("POST", "/_matrix/media/v3/upload", {
      body: new Uint8Array(200_001),
    });
    refused(answer, 413, "M_TOO_LARGE");
  });

  test("S02: a file that says nothing of its size is refused while it is sent, with an answer", async () => {
    const answered = await new Promise<{ status: number | undefined; text: string }>(
      (resolve, reject) => {
        const request = httpRequest(`${http.url}/_matrix/media/v3/upload`, {
          method: "POST",
          headers: { authorization: "Bearer alice" },
        });
        request.on("error", reject);
        request.on("response", (response) => {
          response.toArray().then(
            (chunks) => {
              request.destroy();
              resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() });
            },
            (error: unknown) => reject(error as Error),
          );
        });
        // It never ends.
        request.write(Buffer.alloc(300_000));
      },
    );
    assert.equal(answered.status, 413);
    assert.match(answered.text, /M_TOO_LARGE/);
  });

  test("S02: a compressed body is refused, since it is not what was uploaded", async () => {
    const answer = await call("POST", "/_matrix/media/v3/upload", {
      body: new Uint8Array(gzipSync(Buffer.alloc(10_000_000))),
      headers: { "content-encoding": "gzip" },
    });
    assert.equal(answer.status, 415);
  });

  test("names and addresses that cannot be are refused", async () => {
    const table: [string, string, number, string][] = [
      ["POST", "/_matrix/media/v3/upload?filename=%00", 400, "M_INVALID_PARAM"],
      ["POST", `/_matrix/media/v3/upload?filename=${"x".repeat(1025)}`, 400, "M_INVALID_PARAM"],
      ["POST", "/_matrix/media/v3/upload?filename=%ff", 400, "M_INVALID_PARAM"],
      ["POST", "/_matrix/media/v3/upload?filename=a&filename=b", 400, "M_BAD_JSON"],
      ["PUT", `/_matrix/media/v3/upload/${HERE}/unknown`, 404, "M_NOT_FOUND"],
      ["PUT", "/_matrix/media/v3/upload/a%20b/unknown", 400, "M_INVALID_PARAM"],
      ["PUT", `/_matrix/media/v3/upload/${HERE}/..%2f..%2fetc`, 400, "M_INVALID_PARAM"],
    ];
    for (const [method, path, status, errcode] of table) {
      refused(await call(method, path, { body: "x" }), status, errcode);
    }
  });

  test("the size of the largest file is told", async () => {
    for (const path of ["client/v1/media/config", "media/v3/config", "media/r0/config"]) {
      const answer = await call("GET", `/_matrix/${path}`);
      assert.deepEqual(answer.body, { "m.upload.size": 200_000 });
      refused(await call("GET", `/_matrix/${path}`, { token: undefined }), 401, "M_MISSING_TOKEN");
    }
  });
});

suite("downloading", () => {
  test("S18, V131: every path answers with headers that make it harmless", async () => {
    const active = await upload(
      "<script>alert(1)</script>",
      "text/html",
      "?filename=a%22%0d%0a.html",
    );
    const picture = await upload(image, "image/svg+xml");
    const created = await call("POST", "/_matrix/media/v1/create");
    const later = String(created.body["content_uri"]).slice("mxc://".length);
    const put = { body: "<svg/>", headers: { "content-type": "image/svg+xml" } };
    assert.equal((await call("PUT", `/_matrix/media/v3/upload/${later}`, put)).status, 200);
    const table: [string, string][] = [
      [`/_matrix/client/v1/media/download/${active}`, "attachment"],
      [`/_matrix/client/v1/media/download/${active}/evil.png`, "attachment"],
      [`/_matrix/client/v1/media/download/${later}`, "attachment"],
      [`/_matrix/client/v1/media/download/${picture}`, "attachment"],
      [`/_matrix/client/v1/media/thumbnail/${picture}${THUMBNAIL}`, "inline"],
      [`/_matrix/client/v1/media/thumbnail/${picture}?width=900&height=900`, "inline"],
      [`/_matrix/client/unstable/org.matrix.msc3916/media/download/${active}`, "attachment"],
    ];
    for (const version of ["v3", "r0", "v1"]) {
      table.push(
        [`/_matrix/media/${version}/download/${active}`, "attachment"],
        [`/_matrix/media/${version}/download/${active}/evil.png`, "attachment"],
        [`/_matrix/media/${version}/thumbnail/${picture}${THUMBNAIL}`, "inline"],
      );
    }
    for (const [path, disposition] of table) {
      for (const headers of [{}, { range: "bytes=1-2" }]) {
        const answer = await call("GET", path, { headers });
        assert.equal(answer.status, "range" in headers ? 206 : 200, path);
        const has = (name: string): string => answer.headers.get(name) ?? "";
        assert.equal(has("content-disposition").split(";")[0], disposition, path);
        assert.match(
          has("content-security-policy"),
          /^sandbox; default-src 'none'; script-src 'none'/,
        );
        assert.equal(has("x-content-type-options"), "nosniff");
        assert.equal(has("cross-origin-resource-policy"), "cross-origin");
        assert.equal(has("referrer-policy"), "no-referrer");
        assert.equal(has("access-control-allow-origin"), "*");
      }
    }
    const named = await call("GET", `/_matrix/client/v1/media/download/${active}`);
    assert.equal(
      named.headers.get("content-disposition"),
      `attachment; filename="a___.html"; filename*=utf-8''a%22%0D%0A.html`,
    );
  });

  test("the name in the path replaces that of the file", async () => {
    const name = await upload("x", "text/plain", "?filename=mine.txt");
    for (const path of ["client/v1/media", "media/v3"]) {
      const answer = await call("GET", `/_matrix/${path}/download/${name}/%E7%8C%AB.txt`);
      const disposition = answer.headers.get("content-disposition");
      assert.equal(disposition, `inline; filename="_.txt"; filename*=utf-8''%E7%8C%AB.txt`);
    }
  });

  test("the new paths want a token, the old ones none", async () => {
    const name = await upload(image, "image/png");
    for (const path of [
      `/_matrix/client/v1/media/download/${name}`,
      `/_matrix/client/v1/media/download/${name}/a.png`,
      `/_matrix/client/v1/media/thumbnail/${name}${THUMBNAIL}`,
    ]) {
      refused(await call("GET", path, { token: undefined }), 401, "M_MISSING_TOKEN");
      refused(await call("GET", path, { token: "eve" }), 401, "M_UNKNOWN_TOKEN");
      assert.equal(
        (await call("GET", path)).headers.get("cache-control"),
        "private, max-age=86400",
      );
    }
    for (const path of [
      `/_matrix/media/v3/download/${name}?allow_remote=false&allow_redirect=true`,
      `/_matrix/media/v3/download/${name}/a.png`,
      `/_matrix/media/v3/thumbnail/${name}${THUMBNAIL}&allow_remote=true`,
    ]) {
      assert.equal((await call("GET", path, { token: undefined })).status, 200, path);
    }
  });

  test("parts of a file, and what the client has already", async () => {
    const name = await upload("0123456789");
    const path = `/_matrix/client/v1/media/download/${name}`;
    const whole = await call("GET", path);
    const etag = whole.headers.get("etag") ?? "";
    assert.match(etag, /^"[\w-]{43}"$/);
    assert.equal(whole.headers.get("accept-ranges"), "bytes");
    assert.equal(whole.headers.get("content-length"), "10");
    const table: [Record<string, string>, number, string, string | null][] = [
      [{ range: "bytes=0-0" }, 206, "0", "bytes 0-0/10"],
      [{ range: "bytes=2-4" }, 206, "234", "bytes 2-4/10"],
      [{ range: "bytes=7-" }, 206, "789", "bytes 7-9/10"],
      [{ range: "bytes=7-100" }, 206, "789", "bytes 7-9/10"],
      [{ range: "bytes=-3" }, 206, "789", "bytes 7-9/10"],
      [{ range: "bytes=-100" }, 206, "0123456789", "bytes 0-9/10"],
      [{ range: "bytes=2-4", "if-range": etag }, 206, "234", "bytes 2-4/10"],
      [{ range: "bytes=2-4", "if-range": '"other"' }, 200, "0123456789", null],
      [{ range: "bytes=10-" }, 416, "", "bytes */10"],
      [{ range: "bytes=-0" }, 416, "", "bytes */10"],
      [{ range: "bytes=4-2" }, 200, "0123456789", null],
      [{ range: "bytes=0-1,3-4" }, 200, "0123456789", null],
      [{ range: "bytes=a-b" }, 200, "0123456789", null],
      [{ range: "bytes=-" }, 200, "0123456789", null],
      [{ range: `bytes=${"9".repeat(30)}-` }, 200, "0123456789", null],
      [{ range: "lines=0-1" }, 200, "0123456789", null],
      [{ "if-none-match": etag }, 304, "", null],
      [{ "if-none-match": `"x", W/${etag}` }, 304, "", null],
      [{ "if-none-match": "*" }, 304, "", null],
      [{ "if-none-match": '"x"' }, 200, "0123456789", null],
    ];
    for (const [headers, status, text, contentRange] of table) {
      const answer = await call("GET", path, { headers });
      const shown = JSON.stringify(headers);
      assert.equal(answer.status, status, shown);
      assert.equal(answer.bytes.toString(), text, shown);
      assert.equal(answer.headers.get("content-range"), contentRange, shown);
    }
    const head = await call("HEAD", path);
    assert.deepEqual([head.status, head.headers.get("content-length")], [200, "10"]);
    const empty = `/_matrix/client/v1/media/download/${await upload("")}`;
    assert.equal((await call("GET", empty)).headers.get("content-length"), "0");
    assert.equal((await call("GET", empty, { headers: { range: "bytes=0-" } })).status, 416);
  });

  test("thumbnails are of the size asked for, and wrong sizes are refused", async () => {
    const name = await upload(image, "image/png");
    for (const path of ["client/v1/media", "media/v3", "media/r0"]) {
      const at = `/_matrix/${path}/thumbnail/${name}`;
      const made = await call("GET", at + THUMBNAIL);
      assert.equal(made.headers.get("content-type"), "image/png");
      assert.equal((await sharp(made.bytes).metadata()).width, 32);
      const scaled = await call("GET", `${at}?width=100&height=100&animated=true&timeout_ms=5`);
      assert.equal((await sharp(scaled.bytes).metadata()).width, 320);
      const wrong: [string, string][] = [
        ["", "M_MISSING_PARAM"],
        ["?width=1", "M_MISSING_PARAM"],
        ["?width=-1&height=1", "M_INVALID_PARAM"],
        ["?width=0&height=1", "M_INVALID_PARAM"],
        ["?width=1.5&height=1", "M_INVALID_PARAM"],
        ["?width=a&height=1", "M_INVALID_PARAM"],
        ["?width=1&height=99999999999999999999", "M_INVALID_PARAM"],
        ["?width=1&height=1&method=squash", "M_INVALID_PARAM"],
        ["?width=1&height=1&animated=maybe", "M_INVALID_PARAM"],
        ["?width=1&height=1&timeout_ms=-1", "M_INVALID_PARAM"],
      ];
      for (const [query, errcode] of wrong) refused(await call("GET", at + query), 400, errcode);
    }
    const plain = await upload("no image", "image/png");
    const path = `/_matrix/client/v1/media/thumbnail/${plain}${THUMBNAIL}`;
    refused(await call("GET", path), 400, "M_UNKNOWN");
  });

  test("ids that could name something else are refused, on every path", async () => {
    const table: [string, number, string][] = [
      [`${HERE}/..%2F..%2Fetc%2Fpasswd`, 400, "M_INVALID_PARAM"],
      [`${HERE}/a.b`, 400, "M_INVALID_PARAM"],
      [`${HERE}/%00`, 400, "M_INVALID_PARAM"],
      [`${HERE}/%ff`, 400, "M_INVALID_PARAM"],
      [`${HERE}/${"a".repeat(256)}`, 400, "M_INVALID_PARAM"],
      ["a%2Fb/abc", 400, "M_INVALID_PARAM"],
      ["x:99999999/abc", 400, "M_INVALID_PARAM"],
      [`${HERE}/abc`, 404, "M_NOT_FOUND"],
      ["there.example/abc", 404, "M_NOT_FOUND"],
    ];
    for (const [name, status, errcode] of table) {
      for (const path of ["client/v1/media/download", "media/v3/download"]) {
        refused(await call("GET", `/_matrix/${path}/${name}`), status, errcode);
        refused(await call("GET", `/_matrix/${path}/${name}/name`), status, errcode);
      }
      for (const path of ["client/v1/media/thumbnail", "media/v3/thumbnail"]) {
        refused(await call("GET", `/_matrix/${path}/${name}${THUMBNAIL}`), status, errcode);
      }
    }
  });
});
