/**
 * Walks every operation of the client-server API by the specification's own table: what is refused
 * is refused with the right error, and what is right is answered as documented.
 */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { HttpResponse } from "../fixtures/http-client.ts";
import { servedBy } from "../spec-facts/coverage.ts";
import { loadFacts, type Operation, type Schema } from "../spec-facts/facts.ts";
import { violations } from "../spec-facts/schema.ts";
import { EXCEPTIONS, NOT_SERVED } from "./exceptions.ts";
import { type Draft, type Plan, render, toDraft } from "./plan.ts";
import { PLANS } from "./plans/plans.ts";
import { wrongValues } from "./samples.ts";
import { variantsOf } from "./variants.ts";
import { World } from "./world.ts";

const { operations, definitions } = loadFacts("client-server");
/** Exceptions that some request has needed. */
const needed = new Set<string>();

let world: World;
before(async () => {
  world = await World.open();
});
after(() => world[Symbol.asyncDispose]());

test("the operations that are not served are known, and all others are", () => {
  const isServed = servedBy(world.server.routes);
  const missing = operations.filter((operation) => !isServed(operation)).map(({ id }) => id);
  assert.deepEqual(missing.toSorted(), NOT_SERVED.toSorted());
});

test("what is as old as r0 is served under that name too", () => {
  const isServed = servedBy(world.server.routes);
  const missing = operations
    .filter((operation) => isServed(operation) && operation.since === undefined)
    .map((operation) => ({ ...operation, path: operation.path.replace("/v3/", "/r0/") }))
    .filter((operation) => !isServed(operation));
  assert.deepEqual(
    missing.map(({ path }) => path),
    [],
  );
});

for (const operation of operations) {
  if (NOT_SERVED.includes(operation.id)) continue;
  suite(`${operation.method} ${operation.path} (${operation.id})`, () => walk(operation));
}

test("every exception is needed", () => {
  assert.deepEqual(
    Object.keys(EXCEPTIONS).filter((key) => !needed.has(key)),
    [],
  );
});

/** The refusals come first: they must leave what the valid request needs as it was. */
function walk(operation: Operation): void {
  let plan: Plan = {};
  let draft: Draft = { method: "", segments: [], query: [], headers: {} };
  before(async () => {
    const prepare = PLANS[operation.id];
    assert.ok(prepare !== undefined, `there is no plan for ${operation.id}`);
    plan = await prepare(world);
    draft = toDraft(operation, plan, world);
  });
  const { security } = operation;
  const bodySchema = operation.body?.content["application/json"];

  if (security === "user" || security === "appservice") {
    test("asks for an access token", async () => {
      const { authorization: _, ...headers } = draft.headers;
      const answer = await send({ ...draft, headers });
      assert.deepEqual(summary(answer), { status: 401, errcode: "M_MISSING_TOKEN" });
    });
  }
  if (security !== "none" && security !== "signature") {
    test("refuses an access token of nobody", async () => {
      const headers = { ...draft.headers, authorization: "Bearer nobodys" };
      const answer = await send({ ...draft, headers });
      if (answer.status === 200 && isExcepted("access token", "misvalued")) return;
      assert.deepEqual(summary(answer), { status: 401, errcode: "M_UNKNOWN_TOKEN" });
    });
  }

  if ((operation.query ?? []).length > 0) {
    test("refuses a query that lacks a parameter or has a wrong one", async () => {
      const problems: string[] = [];
      for (const { name, required, schema } of operation.query ?? []) {
        const query = plan.query ?? {};
        if (required === true) {
          const { [name]: _, ...rest } = query;
          const changed = toDraft(operation, { ...plan, query: rest }, world);
          await expect(changed, `query.${name}`, "missing", "is left out", problems);
        }
        for (const wrong of wrongQueryValues(schema)) {
          const changed = toDraft(
            operation,
            { ...plan, query: { ...query, [name]: wrong } },
            world,
          );
          await expect(changed, `query.${name}`, "misvalued", `is ${wrong}`, problems);
        }
      }
      assert.deepEqual(problems, []);
    });
  }

  if (bodySchema !== undefined) {
    test("refuses a body that is not JSON", async () => {
      const answer = await send({ ...draft, body: '{"a": ' });
      assert.deepEqual(summary(answer), { status: 400, errcode: "M_NOT_JSON" });
    });
    for (const kind of ["missing", "mistyped", "misvalued"] as const) {
      test(`refuses a body with something ${kind}`, async () => {
        const problems: string[] = [];
        for (const variant of variantsOf(plan.body, bodySchema, definitions)[kind]) {
          const changed = { ...draft, body: JSON.stringify(variant.body) };
          await expect(changed, variant.place, kind, variant.change, problems);
        }
        assert.deepEqual(problems, []);
      });
    }
  }

  test("answers a valid request as documented", async () => {
    const answer = await send(draft);
    const { status, bytes } = answer;
    const told = bytes.toString("utf8", 0, 500);
    const documented = Object.keys(operation.responses).filter((s) => /^[23]/.test(s));
    assert.ok(documented.includes(String(status)), `${status} ${told}`);
    const { content = {}, headers = [] } = operation.responses[status] ?? {};
    const missing = headers.filter((name) => answer.headers[name.toLowerCase()] === undefined);
    assert.deepEqual(missing, [], "headers that are documented");
    const schema = content["application/json"];
    if (schema === undefined) return;
    assert.match(answer.headers["content-type"] ?? "", /^application\/json\b/);
    const value: unknown = JSON.parse(bytes.toString());
    assert.deepEqual(violations(value, schema, definitions, "response"), [], told);
  });

  function isExcepted(place: string, kind: string): boolean {
    const key = `${operation.id} ${place} ${kind}`;
    if (EXCEPTIONS[key] === undefined) return false;
    needed.add(key);
    return true;
  }

  async function expect(
    changed: Draft,
    place: string,
    kind: "missing" | "mistyped" | "misvalued",
    change: string,
    problems: string[],
  ): Promise<void> {
    const wanted = {
      missing: "M_MISSING_PARAM",
      mistyped: "M_BAD_JSON",
      misvalued: "M_INVALID_PARAM",
    }[kind];
    const answer = await send(changed);
    if (answer.status === 400 && answer.body["errcode"] === wanted) return;
    if (answer.status < 500 && isExcepted(place, kind)) return;
    const told = answer.bytes.toString("utf8", 0, 200);
    problems.push(`${place} ${change}: not 400 ${wanted} but ${answer.status} ${told}`);
  }
}

function send(draft: Draft): Promise<HttpResponse> {
  return world.server.http.send(render(draft));
}

function summary({ status, body }: HttpResponse): { status: number; errcode: unknown } {
  return { status, errcode: body["errcode"] };
}

function wrongQueryValues(schema: Schema): string[] {
  if (schema.type === "integer") return ["x", "1.5", ""];
  if (schema.type === "boolean") return ["maybe", ""];
  return wrongValues(schema, definitions).map(String);
}
