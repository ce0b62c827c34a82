import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  ALICE,
  BOB,
  CAROL,
  CREATOR,
  type Fields,
  joinRules,
  member,
  powerLevels,
  VERSIONS,
} from "./auth-fixtures.ts";
import { statePlace } from "./authorisation.ts";
import type { RoomEvent } from "./event-format.ts";
import type { JsonObject } from "./shape.ts";
import { History, resolveByTheLetter } from "./state-fixtures.ts";
import type { ResolvedEvent, StateMap } from "./state-resolution.ts";

const LEVELS = statePlace("m.room.power_levels", "");
const RULES = statePlace("m.room.join_rules", "");
const TOPIC = statePlace("m.room.topic", "");
const V2 = VERSIONS.filter((version) => version >= 2);

/** Users with levels; the creator stands above them in version 12, and at 100 before. */
function levels(version: number, users: JsonObject, more: JsonObject = {}): Fields {
  const all = { ...(version >= 12 ? {} : { [CREATOR]: 100 }), ...users };
  return powerLevels({ users: all, ...more });
}

function topic(sender = CREATOR): Fields {
  return { type: "m.room.topic", state_key: "", sender };
}

/** A public room that Alice, at 50, Bob, at 50, and Carol have joined; its last event is `base`. */
function room(version: number): History {
  const history = new History(version);
  const steps: [string, Fields][] = [
    ["levels", levels(version, { [ALICE]: 50, [BOB]: 50 })],
    ["rules", joinRules("public")],
    ["alice", member(ALICE, "join")],
    ["bob", member(BOB, "join")],
    ["carol", member(CAROL, "join")],
    ["base", { type: "m.room.message" }],
  ];
  let last = "creator";
  for (const [name, fields] of steps) {
    assert.ok(history.send(name, [last], fields), name);
    last = name;
  }
  return history;
}

function send(
  history: History,
  name: string,
  after: string,
  fields: Fields & { ts?: number },
): void {
  assert.ok(history.send(name, [after], fields), `${name} is not allowed`);
}

/** The names of what a merge of two events has at a place. */
function merged(history: History, names: string[], place: string): string | undefined {
  const state = history.stateBefore(names);
  assert.deepEqual(history.stateBefore(names.toReversed()), state);
  return state.get(place);
}

/** Holds at compile time: the events of the engine are resolved as they are. */
export const resolvedEventOf = (event: RoomEvent): ResolvedEvent => event;

describe("state resolution", () => {
  it("of no state, of one, or of equal ones is that state", () => {
    for (const version of VERSIONS) {
      const history = room(version);
      const state = history.stateAfter("base");
      assert.deepEqual(history.resolve([]), new Map());
      assert.deepEqual(history.resolve([state]), state);
      assert.deepEqual(history.resolve([state, new Map(state), state]), state);
    }
  });

  it("prefers a ban to what the banned user did meanwhile, but for version 1", () => {
    for (const version of VERSIONS) {
      const history = room(version);
      send(history, "ban", "base", { ...member(ALICE, "ban"), sender: CREATOR });
      send(history, "evading", "base", { ...topic(ALICE), ts: 0 });
      const expected = version === 1 ? history.id("evading") : undefined;
      assert.equal(merged(history, ["ban", "evading"], TOPIC), expected);
      const alice = statePlace("m.room.member", ALICE);
      assert.equal(merged(history, ["ban", "evading"], alice), history.id("ban"));
    }
  });

  it("undoes what a user did with the power that another took away meanwhile", () => {
    for (const version of V2) {
      const history = room(version);
      send(history, "demotion", "base", levels(version, { [ALICE]: 0, [BOB]: 50 }));
      send(history, "closing", "base", { ...joinRules("invite"), sender: ALICE, ts: 0 });
      assert.equal(merged(history, ["demotion", "closing"], RULES), history.id("rules"));
      assert.equal(merged(history, ["demotion", "closing"], LEVELS), history.id("demotion"));
    }
  });

  it("takes the power levels of the more powerful user first", () => {
    for (const version of V2) {
      const history = room(version);
      send(history, "mine", "base", levels(version, { [ALICE]: 0, [BOB]: 50 }));
      const coup = levels(version, { [ALICE]: 50, [BOB]: 50, [CAROL]: 50 });
      send(history, "coup", "base", { ...coup, sender: ALICE, ts: 0 });
      assert.equal(merged(history, ["mine", "coup"], LEVELS), history.id("mine"));
    }
  });

  it("takes the later of two changes of equal power, and then the one with the greater ID", () => {
    for (const version of V2) {
      const history = room(version);
      send(history, "early", "base", { ...joinRules("invite"), sender: ALICE, ts: 1e6 });
      send(history, "late", "base", { ...joinRules("public"), sender: BOB, ts: 2e6 });
      send(history, "later", "base", { ...joinRules("private"), sender: BOB, ts: 2e6 });
      assert.equal(merged(history, ["early", "late"], RULES), history.id("late"));
      assert.equal(merged(history, ["late", "later"], RULES), history.id("later"));
    }
  });

  it("takes the state that builds on the later power levels, whatever the clocks say", () => {
    for (const version of V2) {
      const history = room(version);
      send(history, "old", "base", { ...topic(ALICE), ts: 9e9 });
      send(history, "promotion", "base", levels(version, { [ALICE]: 60, [BOB]: 50 }));
      send(history, "new", "promotion", { ...topic(BOB), ts: 0 });
      // In v2.1 the mainline is only known where power levels are in conflict, as they are here.
      assert.equal(merged(history, ["old", "new"], TOPIC), history.id("new"));
    }
  });

  it("keeps what only one state has, if it is allowed", () => {
    for (const version of VERSIONS) {
      const history = room(version);
      send(history, "topic", "base", topic());
      send(history, "message", "base", { type: "m.room.message" });
      assert.equal(merged(history, ["topic", "message"], TOPIC), history.id("topic"));
    }
  });

  it("V055: does not let a rejected event authorise another", () => {
    for (const version of V2) {
      const history = room(version);
      send(history, "promotion", "base", levels(version, { [CAROL]: 50 }));
      // All states agree on an event that the promotion allows, so that it is not in conflict.
      send(history, "witness", "promotion", { type: "x", state_key: "", sender: CAROL });
      send(history, "topic", "witness", topic(CAROL));
      // A state that lacks the power levels, as a faulty server might give it.
      const faulty = new Map(history.stateAfter("topic"));
      faulty.delete(LEVELS);
      const other = new Map(faulty);
      other.delete(TOPIC);
      assert.equal(history.resolve([faulty, other]).get(TOPIC), history.id("topic"));
      history.rejected.add(history.id("promotion"));
      assert.equal(history.resolve([faulty, other]).get(TOPIC), undefined);
    }
  });

  it("V058: v2.1 keeps a join rule whose sender has left, against an outdated state", () => {
    for (const version of V2) {
      const history = room(version);
      send(history, "open", "base", { ...joinRules("public"), sender: ALICE });
      send(history, "closed", "open", { ...joinRules("invite"), sender: ALICE });
      send(history, "left", "closed", member(ALICE, "leave"));
      const state = history.stateAfter("left");
      const outdated = new Map(state).set(RULES, history.id("open"));
      const resolved = history.resolve([state, outdated]).get(RULES);
      assert.equal(resolved, version >= 12 ? history.id("closed") : undefined);
    }
  });

  it("V058: v2.1 replays the promotions between two that are in conflict", () => {
    for (const version of V2) {
      const history = room(version);
      const admin = { events: { "m.room.power_levels": 50 } };
      send(history, "first", "base", levels(version, { [ALICE]: 50 }, admin));
      const bobs = levels(version, { [ALICE]: 50, [BOB]: 50 }, admin);
      send(history, "second", "first", { ...bobs, sender: ALICE });
      const carols = levels(version, { [ALICE]: 50, [BOB]: 50, [CAROL]: 50 }, admin);
      send(history, "third", "second", { ...carols, sender: BOB });
      send(history, "witness", "third", { type: "x", state_key: "", sender: CAROL });
      const state = history.stateAfter("witness");
      const outdated = new Map(state).set(LEVELS, history.id("first"));
      const resolved = history.resolve([state, outdated]).get(LEVELS);
      assert.equal(resolved, history.id(version >= 12 ? "third" : "first"));
    }
  });

  it("of version 1 stops at the first power levels that are not allowed", () => {
    const history = room(1);
    send(history, "mine", "base", levels(1, { [ALICE]: 0, [BOB]: 50 }));
    send(history, "filler", "base", { type: "m.room.message" });
    const coup = levels(1, { [ALICE]: 50, [BOB]: 50, [CAROL]: 50 });
    send(history, "coup", "filler", { ...coup, sender: ALICE });
    assert.equal(merged(history, ["mine", "coup"], LEVELS), history.id("mine"));
  });

  it("of version 1 checks power levels in a room that has those before them", () => {
    const history = room(1);
    send(history, "promotion", "base", levels(1, { [CAROL]: 50 }));
    send(history, "carols", "promotion", {
      ...levels(1, { [CAROL]: 50, [BOB]: 5 }),
      sender: CAROL,
    });
    assert.equal(merged(history, ["promotion", "carols"], LEVELS), history.id("carols"));
  });

  it("of version 1 resolves power levels before memberships", () => {
    const history = room(1);
    const carol = statePlace("m.room.member", CAROL);
    send(history, "same", "base", levels(1, { [ALICE]: 50, [BOB]: 50 }, { ban: 60 }));
    send(history, "again", "same", member(CAROL, "join", { displayname: "C" }));
    send(history, "filler", "base", { type: "m.room.message" });
    send(history, "other", "filler", { type: "m.room.message" });
    send(history, "kick", "other", { ...member(CAROL, "leave"), sender: ALICE });
    assert.equal(merged(history, ["again", "kick"], carol), history.id("kick"));
  });

  it("of version 1 takes, of events of one depth, the one with the lowest SHA-1 of its ID", () => {
    const history = room(1);
    const sha1 = (name: string) => createHash("sha1").update(history.id(name)).digest("hex");
    for (const names of [
      ["t1", "t2"],
      ["t3", "t4"],
      ["t5", "t6"],
    ]) {
      const [first = "", second = ""] = names;
      send(history, first, "base", topic(ALICE));
      send(history, second, "base", topic(BOB));
      const lowest = sha1(first) < sha1(second) ? first : second;
      assert.equal(merged(history, names, TOPIC), history.id(lowest));
    }
  });

  it("of version 1 takes the deepest that is allowed, or the least deep where none is", () => {
    const history = room(1);
    send(history, "shallow", "base", topic(ALICE));
    send(history, "filler", "base", { type: "m.room.message" });
    send(history, "deep", "filler", topic(BOB));
    assert.equal(merged(history, ["shallow", "deep"], TOPIC), history.id("deep"));
    const without = (name: string, ...users: string[]) => {
      const state = new Map(history.stateAfter(name));
      for (const user of users) state.delete(statePlace("m.room.member", user));
      return state;
    };
    const bobGone = history.resolve([without("shallow", BOB), without("deep", BOB)]);
    assert.equal(bobGone.get(TOPIC), history.id("shallow"));
    const bothGone = history.resolve([without("shallow", ALICE, BOB), without("deep", ALICE, BOB)]);
    assert.equal(bothGone.get(TOPIC), history.id("shallow"));
  });

  it("V062: takes auth chains of 10,000 events", () => {
    const history = room(11);
    let last = "base";
    for (let i = 0; i < 10_000; i++) {
      send(history, `l${i}`, last, levels(11, { [ALICE]: 50, [BOB]: 50 }, { ban: i % 50 }));
      last = `l${i}`;
    }
    send(history, "topic", "base", topic(ALICE));
    assert.equal(merged(history, [last, "topic"], LEVELS), history.id(last));
  });
});

describe("state resolution of any history", () => {
  const USERS = [CREATOR, ALICE, BOB, CAROL];
  const user = fc.constantFrom(...USERS);
  const level = fc.constantFrom(0, 25, 50, 75);
  const step = fc.record({
    sender: user,
    target: user,
    kind: fc.constantFrom(
      "levels",
      "rules",
      "join",
      "leave",
      "kick",
      "ban",
      "invite",
      "topic",
      "name",
    ),
    users: fc.record({ [ALICE]: level, [BOB]: level, [CAROL]: level }),
    rule: fc.constantFrom("public", "invite"),
    after: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
    ts: fc.nat(20),
  });
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

  function fieldsOf(version: number, { kind, sender, target, users, rule }: Step): Fields {
    switch (kind) {
      case "levels":
        return { ...levels(version, users), sender };
      case "rules":
        return { ...joinRules(rule), sender };
      case "join":
      case "leave":
        return member(sender, kind);
      case "kick":
        return { ...member(target, "leave"), sender };
      case "ban":
      case "invite":
        return { ...member(target, kind), sender };
      default:
        return { type: `m.room.${kind}`, state_key: "", sender };
    }
  }

  /** The history of some steps, each after any of those before, and the names of what was sent. */
  function play(version: number, steps: Step[]): { history: History; names: string[] } {
    const history = room(version);
    const names = ["base"];
    for (const [i, each] of steps.entries()) {
      const after = new Set(
        each.after.map((n) => names[names.length - 1 - (n % Math.min(names.length, 6))] ?? "base"),
      );
      const name = `e${i}`;
      if (history.send(name, [...after], { ...fieldsOf(version, each), ts: each.ts }))
        names.push(name);
    }
    return { history, names };
  }

  /** Some states of a history, in one of which a place may have gone back to an older event. */
  function statesOf(
    history: History,
    names: string[],
    picks: number[],
    outdated: number[],
  ): StateMap[] {
    const states = picks.map((n) => new Map(history.stateAfter(names[n % names.length] ?? "base")));
    for (const n of outdated) {
      const state = states[n % states.length];
      const older = history.stateAfter(names[n % names.length] ?? "base");
      const place = [...older.keys()][n % older.size];
      const eventId = place === undefined ? undefined : older.get(place);
      if (place !== undefined && eventId !== undefined) state?.set(place, eventId);
    }
    return states;
  }

  const steps = fc.array(step, { minLength: 3, maxLength: 25 });
  const picks = fc.array(fc.nat(), { minLength: 2, maxLength: 4 });
  const outdated = fc.array(fc.nat(), { maxLength: 3 });
  const version = fc.constantFrom(1, 2, 6, 10, 11, 12);

  it("ignores the order of the states and of their entries", () => {
    const shuffles = fc.infiniteStream(fc.nat());
    fc.assert(
      fc.property(version, steps, picks, outdated, shuffles, (v, played, picked, old, stream) => {
        const { history, names } = play(v, played);
        const states = statesOf(history, names, picked, old);
        const resolved = history.resolve(states);
        const shuffle = <T>(items: Iterable<T>): T[] =>
          [...items]
            .map((item) => ({ item, at: stream.next().value }))
            .sort((a, b) => a.at - b.at)
            .map(({ item }) => item);
        const shuffled = shuffle([...states, ...states.slice(0, 1)]).map(
          (state) => new Map(shuffle(state)),
        );
        assert.deepEqual(
          new Map([...history.resolve(shuffled)].sort()),
          new Map([...resolved].sort()),
        );
      }),
      { numRuns: 300 },
    );
  });

  it("keeps what all states agree on, and makes up nothing", () => {
    fc.assert(
      fc.property(version, steps, picks, outdated, (v, played, picked, old) => {
        const { history, names } = play(v, played);
        const states = statesOf(history, names, picked, old);
        const resolved = history.resolve(states);
        const [first = new Map<string, string>()] = states;
        for (const [place, eventId] of first) {
          if (states.every((state) => state.get(place) === eventId)) {
            assert.equal(resolved.get(place), eventId);
          }
        }
        for (const [place, eventId] of resolved) {
          const { type, state_key: stateKey = "" } = history.get(eventId).pdu;
          assert.equal(statePlace(type, stateKey), place);
        }
      }),
      { numRuns: 200 },
    );
  });

  it("is what the letter of the specification says, for v2 and v2.1", () => {
    const v2 = fc.constantFrom(2, 3, 6, 11, 12, 12);
    fc.assert(
      fc.property(v2, steps, picks, outdated, (v, played, picked, old) => {
        const { history, names } = play(v, played);
        const states = statesOf(history, names, picked, old);
        for (const id of picked) if (id % 7 === 0) history.rejected.add(history.id(`e${id % 25}`));
        const expected = resolveByTheLetter(history.question(states));
        const resolved = history.resolve(states);
        assert.deepEqual(new Map([...resolved].sort()), new Map([...expected].sort()));
      }),
      { numRuns: 500 },
    );
  });
});
