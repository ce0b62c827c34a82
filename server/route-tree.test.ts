import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Method, Route } from "./route.ts";
import { RouteTree } from "./route-tree.ts";

function at(path: string, method: Method = "GET"): Route {
  return { method, path, access: "public", handle: async () => path };
}

/** What is found: the route's path and its parameters, or the methods that there are. */
function find(routes: Route[], method: string, path: string): unknown {
  const match = new RouteTree(routes).find(method, path);
  if (match === undefined) return undefined;
  return match.route === undefined ? match.allowed : [match.route.path, match.read()];
}

test("a fixed segment goes before a parameter, whatever came first", () => {
  const routes = [at("/rooms/:room/:x"), at("/rooms/:room/state"), at("/rooms/special/state")];
  for (const order of [routes, routes.toReversed()]) {
    assert.deepEqual(find(order, "GET", "/rooms/a/state"), ["/rooms/:room/state", { room: "a" }]);
    assert.deepEqual(find(order, "GET", "/rooms/special/state"), ["/rooms/special/state", {}]);
    assert.deepEqual(find(order, "GET", "/rooms/special/x"), [
      "/rooms/:room/:x",
      { room: "special", x: "x" },
    ]);
  }
});

test("a path that leads nowhere by its fixed segments is tried by its parameters", () => {
  const routes = [at("/a/fixed/one"), at("/a/:p/two"), at("/a/*rest")];
  assert.deepEqual(find(routes, "GET", "/a/fixed/two"), ["/a/:p/two", { p: "fixed" }]);
  assert.deepEqual(find(routes, "GET", "/a/fixed/three/four"), [
    "/a/*rest",
    { rest: "fixed/three/four" },
  ]);
});

test("the method decides among routes of one path, and the others are named where none fits", () => {
  const routes = [at("/a/:b"), at("/a/:b", "PUT"), at("/a/fixed", "POST")];
  assert.deepEqual(find(routes, "PUT", "/a/fixed"), ["/a/:b", { b: "fixed" }]);
  assert.deepEqual(find(routes, "DELETE", "/a/fixed"), ["POST", "GET", "PUT"]);
  assert.equal(find(routes, "GET", "/a"), undefined);
  assert.equal(find(routes, "GET", "/a/b/c"), undefined);
});

test("an empty segment is a parameter's value, and a slash more another path", () => {
  const routes = [at("/state/:type"), at("/state/:type/:key")];
  assert.deepEqual(find(routes, "GET", "/state/m.topic"), ["/state/:type", { type: "m.topic" }]);
  assert.deepEqual(find(routes, "GET", "/state/m.topic/"), [
    "/state/:type/:key",
    { type: "m.topic", key: "" },
  ]);
  assert.equal(find(routes, "GET", "/state/a/b/"), undefined);
});

test("aliases are the same route, with parameters of their own order", () => {
  const route = { ...at("/v3/:a/:b"), aliases: ["/r0/:b/:a"] };
  assert.deepEqual(find([route], "GET", "/r0/1/2"), ["/v3/:a/:b", { b: "1", a: "2" }]);
});

test("mistakes in routes are found at the start", () => {
  for (const routes of [
    [at("/a/:x"), at("/a/:y")],
    [at("/a"), at("/a")],
    [at("a")],
    [at("/*rest/a")],
    [at("/:x/:x")],
  ]) {
    assert.throws(() => new RouteTree(routes));
  }
});

test("whatever stands in the place of a parameter is read back", () => {
  const tree = new RouteTree([at("/x/:a/y/:b")]);
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" }), (a, b) => {
      fc.pre(a.isWellFormed() && b.isWellFormed());
      const match = tree.find("GET", `/x/${encodeURIComponent(a)}/y/${encodeURIComponent(b)}`);
      assert.ok(match?.route !== undefined);
      assert.deepEqual(match.read(), { a, b });
    }),
  );
});
