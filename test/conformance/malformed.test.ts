/**
 * 200 malformed inputs for every operation: none is answered with a server error or not at all, none
 * that is refused changes anything, and the server lives on.
 */
import assert from "node:assert/strict";
import { after, before, suite, test } from "node:test";
import type { HttpResponse } from "../fixtures/http-client.ts";
import { RouteTree } from "../../server/route-tree.ts";
import { loadFacts, type Operation } from "../spec-facts/facts.ts";
import { databaseState, differences } from "./database-state.ts";
import { NOT_SERVED } from "./exceptions.ts";
import { type MalformedInput, malformedInputs } from "./malformed-inputs.ts";
import { type Draft, render, toDraft } from "./plan.ts";
import { PLANS } from "./plans/plans.ts";
import { Random } from "./random.ts";
import { World } from "./world.ts";

const INPUTS = 200;
const AT_A_TIME = 8;
const TIMEOUT_MS = 20_000;
const DEFAULT_BODY_BYTES = 64 * 1024;
/** How often a good request is prepared anew, where strange ones that are accepted use it up. */
const MAX_DRAFTS = 10;

const seed = Number(process.env["GOMIN_TEST_SEED"] ?? 1);
const { operations, definitions } = loadFacts("client-server");

/** What an operation does away with when it is accepted, so that the next one needs another. */
const USED_UP = ["logout", "logout_all", "deactivateAccount", "refresh"];

let world: World;
before(async () => {
  world = await World.open();
});
after(() => world[Symbol.asyncDispose]());

suite(`malformed inputs, seed ${seed}`, () => {
  for (const [i, operation] of operations.entries()) {
    if (NOT_SERVED.includes(operation.id)) continue;
    test(`${operation.method} ${operation.path} (${operation.id})`, () =>
      check(operation, new Random(seed * 1000 + i)));
  }

  test("leave a server that works", async () => {
    const eventId = await world.alice.send(world.roomId, "still here");
    await world.bob.waitForEvent(world.roomId, (event) => event["event_id"] === eventId);
  });
});

async function check(operation: Operation, random: Random): Promise<void> {
  const first = await prepare(operation);
  const inputs = malformedInputs(operation, first, {
    count: INPUTS,
    random,
    maxBodyBytes: maxBodyBytes(operation),
    definitions,
  });
  const problems: string[] = [];
  const refused: MalformedInput[] = [];
  let good = first;
  let drafts = 1;
  await inTurn(inputs, USED_UP.includes(operation.id) ? 1 : AT_A_TIME, async (input) => {
    const answer = await send(input, good, problems);
    if (answer === undefined) return;
    // A conflict is with what else went on, and what is not there another input may make.
    if (answer.status === 409 || answer.status === 404) return;
    // So does a push rule say that it knows none to stand beside.
    if (operation.id === "setPushRule" && answer.body["errcode"] === "M_UNKNOWN") return;
    if (answer.status >= 400) refused.push(input);
    else if (USED_UP.includes(operation.id) && drafts < MAX_DRAFTS) {
      drafts += 1;
      good = await prepare(operation);
    }
  });
  // A copy: the assertion would narrow the type of the list itself to one that stays empty.
  assert.deepEqual([...problems], []);
  const before = await databaseState(world.server.database);
  await inTurn(refused, AT_A_TIME, async (input) => {
    const answer = await send(input, good, problems);
    if (answer !== undefined && answer.status < 400) problems.push(`${input.what}: now accepted`);
  });
  assert.deepEqual(problems, []);
  const changed = differences(before, await databaseState(world.server.database));
  assert.deepEqual(changed, [], "what is refused changes nothing");
}

async function prepare(operation: Operation): Promise<Draft> {
  const plan = PLANS[operation.id];
  assert.ok(plan !== undefined, `there is no plan for ${operation.id}`);
  return toDraft(operation, await plan(world), world);
}

async function send(
  input: MalformedInput,
  good: Draft,
  problems: string[],
): Promise<HttpResponse | undefined> {
  const request = { ...render(input.apply(inNewTransaction(good))), timeoutMs: TIMEOUT_MS };
  const say = (problem: string): void => {
    problems.push(`${input.what}: ${request.method} ${request.path.slice(0, 200)}: ${problem}`);
  };
  let answer: HttpResponse;
  try {
    answer = await world.server.http.send(request);
  } catch (error) {
    say(`no answer: ${String(error instanceof Error ? error.cause : error)}`);
    return undefined;
  }
  const { status, bytes, body } = answer;
  const told = `${status} ${bytes.toString("utf8", 0, 200)}`;
  if (status >= 500) say(told);
  else if (status >= 400 && !/^M_[A-Z_]+$/.test(String(body["errcode"]))) {
    if (body["session"] === undefined) say(`an error without a code: ${told}`);
  } else if (status < 400 && input.mustFail) say(`accepted: ${told}`);
  if (status >= 400 && /\.ts:\d|node_modules/.test(bytes.toString()))
    say(`tells internals: ${told}`);
  return answer;
}

/** A request under a transaction ID that was used before is answered as it was then, whatever it says. */
function inNewTransaction(good: Draft): Draft {
  const segments = good.segments.map((segment) =>
    segment.name === "txnId" ? { ...segment, text: world.unique("t") } : segment,
  );
  return { ...good, segments };
}

function maxBodyBytes({ method, path }: Operation): number {
  const match = new RouteTree(world.server.routes).find(method, path);
  return match?.route?.maxBodyBytes ?? DEFAULT_BODY_BYTES;
}

/** Does something with all items, a few at a time. */
async function inTurn<T>(
  items: readonly T[],
  atATime: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const left = items.values();
  const worker = async (): Promise<void> => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}
