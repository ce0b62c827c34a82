import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DEFAULT_ROOM_VERSION, type RoomVersion, roomVersions } from "./room-versions.ts";

const ALL = Array.from({ length: 12 }, (_, i) => i + 1);

/** The versions in which a rule holds, as the specification's chapters say it. */
const RULES: { rule: keyof RoomVersion; from?: number; to?: number }[] = [
  { rule: "aliasesAuthRule", to: 5 },
  { rule: "redactionAuthRule", to: 2 },
  { rule: "keyValidity", from: 5 },
  { rule: "strictCanonicalJson", from: 6 },
  { rule: "notificationLevelsAuthRule", from: 6 },
  { rule: "knock", from: 7 },
  { rule: "restrictedJoin", from: 8 },
  { rule: "integerPowerLevels", from: 10 },
  { rule: "knockRestrictedJoin", from: 10 },
  { rule: "creatorInContent", to: 10 },
  { rule: "redactsInContent", from: 11 },
  { rule: "identifiersCountBytes", from: 11 },
  { rule: "privilegedCreators", from: 12 },
  { rule: "roomIdIsCreateEvent", from: 12 },
];

function get(version: number): RoomVersion {
  const found = roomVersions.get(String(version));
  assert.ok(found);
  return found;
}

describe("room versions", () => {
  it("are 1 to 12, under their names", () => {
    assert.deepEqual([...roomVersions.keys()], ALL.map(String));
    for (const [name, { version }] of roomVersions) assert.equal(version, name);
  });

  it("have 12 as the default", () => {
    assert.equal(DEFAULT_ROOM_VERSION, "12");
    assert.ok(roomVersions.has(DEFAULT_ROOM_VERSION));
  });

  for (const { rule, from = 1, to = 12 } of RULES) {
    it(`${rule} from version ${from} to ${to}`, () => {
      const holds = ALL.filter((version) => get(version)[rule] === true);
      assert.deepEqual(
        holds,
        ALL.filter((version) => version >= from && version <= to),
      );
    });
  }

  it("have all their rules checked here", () => {
    const known = [
      ...RULES.map(({ rule }) => rule),
      "version",
      "eventIds",
      "stateResolution",
      "redaction",
    ];
    for (const version of ALL)
      assert.deepEqual(Object.keys(get(version)).toSorted(), known.toSorted());
  });

  it("give event IDs by their server, then by hash in base64, then in URL-safe base64", () => {
    const formats = ALL.map((version) => get(version).eventIds);
    assert.deepEqual(formats.slice(0, 4), ["assigned", "assigned", "base64", "base64url"]);
    assert.deepEqual([...new Set(formats.slice(3))], ["base64url"]);
  });

  it("resolve state by algorithm 1, then 2, then 2.1", () => {
    const algorithms = ALL.map((version) => get(version).stateResolution);
    assert.deepEqual(algorithms, ["v1", ...Array.from({ length: 10 }, () => "v2"), "v2.1"]);
  });
});
