import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { maySeeEvent, mayServerSeeEvent } from "./visibility.ts";

const VISIBILITIES = ["world_readable", "shared", "invited", "joined", undefined, 7, "secret"];

function at(historyVisibility: unknown, membership?: unknown) {
  return { historyVisibility, membership };
}

describe("history visibility", () => {
  // history_visibility, membership at the event, joined since, visible
  const table: [unknown, unknown, boolean, boolean][] = [
    ["world_readable", undefined, false, true],
    ["world_readable", "ban", false, true],
    ["shared", "join", false, true],
    ["shared", "leave", false, false],
    ["shared", "leave", true, true],
    ["shared", "invite", false, false],
    ["shared", "invite", true, true],
    ["shared", undefined, true, true],
    ["invited", "join", false, true],
    ["invited", "invite", false, true],
    ["invited", "knock", false, false],
    ["invited", "leave", true, false],
    ["invited", "ban", true, false],
    ["joined", "join", false, true],
    ["joined", "invite", true, false],
    ["joined", "leave", true, false],
    [undefined, "leave", true, true],
    [undefined, "leave", false, false],
    [null, "leave", true, true],
    ["secret", "leave", true, true],
    ["secret", "leave", false, false],
    [{ toString: "joined" }, "leave", true, true],
  ];
  for (const [visibility, membership, hasJoinedSince, visible] of table) {
    const state = at(visibility, membership);
    const since = hasJoinedSince ? "who joined since" : "who did not join since";
    const title = `${JSON.stringify(visibility)} ${visible ? "shows" : "hides"} an event to ${String(membership)} ${since}`;
    it(title, () => {
      assert.equal(maySeeEvent({ before: state, after: state, hasJoinedSince }), visible);
    });
  }

  it("V095: an event without known state is hidden from everyone", () => {
    for (const hasJoinedSince of [true, false]) {
      assert.equal(maySeeEvent({ before: undefined, after: undefined, hasJoinedSince }), false);
      assert.equal(
        mayServerSeeEvent({ before: undefined, after: undefined, hasJoinedSince }),
        false,
      );
    }
  });

  it("shows a visibility event if the setting before or after it would", () => {
    for (const [from, to] of [
      ["world_readable", "joined"],
      ["joined", "world_readable"],
    ]) {
      const viewing = { before: at(from, "leave"), after: at(to, "leave"), hasJoinedSince: false };
      assert.equal(maySeeEvent(viewing), true);
    }
    const both = { before: at("joined"), after: at("invited"), hasJoinedSince: true };
    assert.equal(maySeeEvent(both), false);
  });

  it("shows the user's own joining and leaving under every setting", () => {
    for (const setting of VISIBILITIES) {
      const joining = { before: at(setting, "leave"), after: at(setting, "join") };
      const kicked = { before: at(setting, "join"), after: at(setting, "ban") };
      assert.equal(maySeeEvent({ ...joining, hasJoinedSince: false }), true);
      assert.equal(maySeeEvent({ ...kicked, hasJoinedSince: false }), true);
    }
  });

  it("shows a server what any of its users may see", () => {
    const server = (historyVisibility: unknown, memberships: unknown[], hasJoinedSince = false) => {
      const state = { historyVisibility, memberships };
      return mayServerSeeEvent({ before: state, after: state, hasJoinedSince });
    };
    assert.equal(server("joined", ["leave", "join"]), true);
    assert.equal(server("joined", ["leave", "invite"], true), false);
    assert.equal(server("invited", ["leave", "invite"]), true);
    assert.equal(server("invited", ["leave"], true), false);
    assert.equal(server("shared", []), false);
    assert.equal(server("shared", [], true), true);
    assert.equal(server("world_readable", []), true);
    const shut = { historyVisibility: "joined", memberships: [] };
    const open = { historyVisibility: "world_readable", memberships: [] };
    const opening = { before: shut, after: open, hasJoinedSince: false };
    assert.equal(mayServerSeeEvent(opening), true);
    assert.equal(mayServerSeeEvent({ ...opening, after: undefined }), false);
  });
});
