import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { contentHeaders, fileNameOf, readContentType, UNKNOWN_TYPE } from "./content-headers.ts";

function dispositionOf(type: string, name?: string): string | undefined {
  return contentHeaders(readContentType(type), name)["content-disposition"];
}

test("V131: only listed types are shown inline, whatever their letter case and parameters", () => {
  const inline = [
    "image/png",
    "IMAGE/PNG",
    "image/png; a=b",
    'text/plain;charset="utf-8"',
    "text/css",
    "text/plain; charset=utf-8 ; format=flowed",
    "video/mp4",
    "application/json",
  ];
  for (const type of inline) assert.equal(dispositionOf(type), "inline", type);
  const attached = [
    "text/html",
    "TEXT/HTML;x",
    "text/html; charset=utf-8",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
    "application/xml",
    "application/pdf",
    "application/javascript",
    "image/png, text/html",
    "image/png,text/html",
    "image/png text/html",
    "image/png\u00a0",
    "image/png;text/html",
    "text/html;image/png",
    "image",
    "image/",
    "/png",
    "",
    "image//png",
    "image/pngx",
    "ximage/png",
    "text/plain\r\nx: y",
    "image/png;a=b,text/html",
  ];
  for (const type of attached) assert.equal(dispositionOf(type), "attachment", type);
});

test("V131: what is no media type is of unknown type", () => {
  const wrong = [
    "image/png, text/html",
    "TEXT/HTML;x",
    "text",
    "a/b/c",
    "text/html\n",
    "a/b;c",
    "a/b;c=",
    'a/b;c="',
    'a/b;c="\\""',
    "a/b; c=d e",
    "té/xt",
    `a/${"b".repeat(300)}`,
  ];
  for (const type of wrong) assert.equal(readContentType(type), UNKNOWN_TYPE, type);
  assert.equal(readContentType(undefined), UNKNOWN_TYPE);
  for (const type of ["text/html", "TEXT/html; charset=UTF-8", 'a/b;c="d e"']) {
    assert.equal(readContentType(type), type);
  }
});

test("a media type is read in linear time", () => {
  const startedAt = performance.now();
  for (const type of [
    `a/b${";a=b".repeat(60)}!"`,
    `a/b${" ".repeat(250)}`,
    `a/b;${"a".repeat(250)}`,
  ]) {
    readContentType(type);
  }
  readContentType(`a/b${'; a="x"'.repeat(100_000)};`);
  assert.ok(performance.now() - startedAt < 200);
});

test("S18: every answer is sandboxed and may be used from any origin", () => {
  const headers = contentHeaders("text/html", undefined);
  assert.match(
    headers["content-security-policy"] ?? "",
    /^sandbox; default-src 'none'; script-src 'none'/,
  );
  assert.equal(headers["cross-origin-resource-policy"], "cross-origin");
  assert.equal(headers["referrer-policy"], "no-referrer");
});

test("V131: file names with quotes, line ends and other scripts are safe, and read back", () => {
  const table: [string, string][] = [
    ["", "inline"],
    ["cat.png", 'inline; filename="cat.png"'],
    ["War and Peace.png", 'inline; filename="War and Peace.png"'],
    ['a".html', `inline; filename="a_.html"; filename*=utf-8''a%22.html`],
    ["a\\", `inline; filename="a_"; filename*=utf-8''a%5C`],
    [
      "a\r\nset-cookie: x",
      `inline; filename="a__set-cookie: x"; filename*=utf-8''a%0D%0Aset-cookie%3A%20x`,
    ],
    ["50%.png", `inline; filename="50_.png"; filename*=utf-8''50%25.png`],
    ["猫.png", `inline; filename="_.png"; filename*=utf-8''%E7%8C%AB.png`],
    ["😀'()*", `inline; filename="_'()*"; filename*=utf-8''%F0%9F%98%80%27%28%29%2A`],
    ["\u0000", `inline; filename="_"; filename*=utf-8''%00`],
  ];
  for (const [name, expected] of table)
    assert.equal(dispositionOf("image/png", name), expected, name);
  fc.assert(
    fc.property(fc.string({ unit: "binary", minLength: 1 }), (name) => {
      const disposition = dispositionOf("image/png", name) ?? "";
      assert.match(disposition, /^[\x20-\x7e]*$/);
      assert.equal(fileNameOf(disposition), name);
    }),
  );
});

test("file names of other servers are read in both forms", () => {
  const table: [string | undefined, string | undefined][] = [
    [undefined, undefined],
    ["inline", undefined],
    ["attachment; filename=plain.txt", "plain.txt"],
    ['attachment; filename="a \\"b\\" c.txt"', 'a "b" c.txt'],
    ["attachment; FileName*=UTF-8''%E7%8C%AB", "猫"],
    ["attachment; filename=x; filename*=utf-8''%FF", "x"],
    ["filename=x", undefined],
  ];
  for (const [header, name] of table) assert.equal(fileNameOf(header), name, header);
});
