import assert from "node:assert/strict";
import { isIPv6 } from "node:net";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { MatrixError } from "./errors.ts";
import {
  eventId,
  isEventId,
  isMediaId,
  isNewUserId,
  isRoomAlias,
  isRoomId,
  isServerName,
  isUserId,
  localpartOf,
  mediaId,
  parseMxc,
  roomAlias,
  roomId,
  roomIdOrAlias,
  serverName,
  serverNameOf,
  splitPort,
  userId,
} from "./identifiers.ts";

const GOOD_SERVERS = [
  "matrix.org matrix.org:8888 1.2.3.4 1.2.3.4:1234 [1234:5678::abcd] [1234:5678::abcd]:5678",
  "localhost MATRIX.Org xn--e1afmkfd.example a-b.c 1.2.3 h:00001 [::] [::ffff:1.2.3.4]:80",
  `[1:2:3:4:5:6:7:8] [1:2:3:4:5:6:7::] ${"x".repeat(255)}`,
].flatMap((line) => line.split(" "));
const BAD_SERVERS = [
  ": :80 x: x:abc a:b:c a:b:1 u@h x:123456 x:-1 [ ] [] [::1 ::1 ::1] [::1]x [::1]: [::1]:abc",
  "[1:2] [:::] [1::2::3] [1:2:3:4:5:6:7:8:9] [1:2:3:4:5:6:7:8::] [12345::] [::1.2.3] [1.2.3.4::]",
  "[::256.1.1.1] 256.1.1.1 1.2.3.1234 1.2.3.400:80 % a%20b a/b http://a a?b a#b ä.example １.2.3.4",
  `a_b a,b * ${"x".repeat(256)} ${"x".repeat(300)}`,
]
  .flatMap((line) => line.split(" "))
  .concat("", "x: 80", "x:8 0", "a b", " a", "a ", "a\n", "\na", "a\0");

describe("server names", () => {
  it("V164: are those of the grammar", () => {
    for (const name of GOOD_SERVERS) assert.ok(isServerName(name), name);
    for (const name of BAD_SERVERS) assert.equal(isServerName(name), false, JSON.stringify(name));
  });

  it("hold an IPv6 address where another implementation knows one", () => {
    const group = fc.constantFrom("", "0", "1", "ffff", "12345", ":", "::", "1.2.3.4", "g");
    fc.assert(
      fc.property(
        fc.array(group, { maxLength: 10 }),
        fc.constantFrom(":", "::"),
        (groups, joint) => {
          const text = groups.join(joint);
          assert.equal(isServerName(`[${text}]`), isIPv6(text), text);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("are split from their port", () => {
    assert.deepEqual(splitPort("a.b:80"), { host: "a.b", port: "80" });
    assert.deepEqual(splitPort("a.b"), { host: "a.b", port: undefined });
    assert.deepEqual(splitPort("[::1]"), { host: "[::1]", port: undefined });
    assert.deepEqual(splitPort("[::1]:80"), { host: "[::1]", port: "80" });
  });
});

describe("user IDs", () => {
  it("may have any historical localpart in events", () => {
    const long = `@${"x".repeat(255 - "@:domain".length)}:domain`;
    const good = [
      "@a:b",
      "@:b",
      "@A b:c",
      "@é😀:domain:80",
      "@a/b+c=d:[::1]:1",
      "@a\n\u0001:b",
      long,
    ];
    for (const id of good) assert.ok(isUserId(id), id);
    const bad = [
      "",
      "@",
      "a:b",
      "@a",
      "@a:",
      "@a:b:c",
      "@a:b c",
      "#a:b",
      "@a\0:b",
      "@\ud800:b",
      `${long}x`,
    ];
    for (const id of bad) assert.equal(isUserId(id), false, JSON.stringify(id));
    assert.equal(isUserId(`@${"é".repeat(124)}:domain`), false);
  });

  it("of new accounts have the characters of the grammar", () => {
    for (const id of ["@a:b", "@a-z.0_9=/+:b.c:80"]) assert.ok(isNewUserId(id), id);
    for (const id of ["@:b", "@A:b", "@a b:c", "@é:b", "@a!:b", "@a\n:b", "@a:"]) {
      assert.equal(isNewUserId(id), false, id);
    }
  });

  it("are split at the first colon", () => {
    assert.equal(localpartOf("@a:b:80"), "a");
    assert.equal(serverNameOf("@a:b:80"), "b:80");
    assert.equal(serverNameOf("#r:[::1]:80"), "[::1]:80");
  });
});

describe("room and event IDs, aliases, media", () => {
  const hash = "Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg";

  it("may be hashes or have a domain", () => {
    for (const id of [`!${hash}`, "!a:b", "!ö \n:b.c:80", `!${"x".repeat(250)}:b.c`]) {
      assert.ok(isRoomId(id), id);
    }
    for (const id of [`$${hash}`, "$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk", "$a:b"]) {
      assert.ok(isEventId(id), id);
    }
    const bad = [
      "",
      "!",
      "!:b",
      "!a:",
      "!a b",
      "!a.b",
      "!a:b:c",
      "!a\0:b",
      "!é",
      `!${"x".repeat(255)}`,
      "a",
    ];
    for (const id of bad) {
      assert.equal(isRoomId(id), false, JSON.stringify(id));
      assert.equal(isEventId(id.replace("!", "$")), false, JSON.stringify(id));
    }
    assert.equal(isRoomId(`$${hash}`), false);
    assert.equal(isEventId(`!${hash}`), false);
  });

  it("of aliases have a localpart and a domain", () => {
    for (const id of ["#a:b", "#ö b/?#:b:80"]) assert.ok(isRoomAlias(id), id);
    for (const id of ["", "#", "#:b", "#a", "#a:", "#a\0:b", "#a:b c", `#${"x".repeat(255)}:b`]) {
      assert.equal(isRoomAlias(id), false, id);
    }
  });

  it("of media have safe characters only", () => {
    assert.deepEqual(parseMxc("mxc://a.b:80/Ab-_9"), { serverName: "a.b:80", mediaId: "Ab-_9" });
    const bad =
      "mxc:// mxc://a mxc://a/ mxc:///b mxc://a/b/c http://a/b MXC://a/b mxc://a/b?c mxc://a/b#c " +
      "mxc://a/.. mxc://a/b%2f mxc://a:b:c/d";
    for (const uri of bad.split(" ").concat("", "mxc://a b/c", "mxc://a/b\n")) {
      assert.equal(parseMxc(uri), undefined, uri);
    }
    for (const id of ["..", "a/b", "a\\b", "", "é", "x".repeat(256)])
      assert.equal(isMediaId(id), false);
  });
});

describe("shapes of identifiers", () => {
  const shapes = { eventId, mediaId, roomAlias, roomId, roomIdOrAlias, serverName, userId };

  it("V154: refuse 200 malformed IDs with a clear error, and never fail otherwise", () => {
    const sigils = ["", "@", "!", "$", "#", "+", "@@"];
    const localparts = ["", "a\0", "\ud800", "%00", "../..", "x".repeat(300), "é".repeat(128)];
    const domains = ["", ":", ":b:c", ":b c", ":[::1", ":%", ":\n", ":b/c", ":256.1.1.1"];
    const malformed = sigils.flatMap((sigil) =>
      localparts.flatMap((localpart) => domains.map((domain) => sigil + localpart + domain)),
    );
    assert.ok(malformed.length > 200);
    for (const [name, shape] of Object.entries(shapes)) {
      for (const id of malformed) {
        assert.throws(
          () => shape.read(id, "params.id"),
          (error) =>
            error instanceof MatrixError &&
            error.errcode === "M_INVALID_PARAM" &&
            error.status === 400 &&
            error.message.startsWith("params.id: not"),
          `${name}: ${JSON.stringify(id)}`,
        );
      }
      for (const value of [undefined, null, 1, true, {}, [], ["@a:b"]]) {
        assert.throws(() => shape.read(value, "body.id"), { errcode: "M_BAD_JSON" });
      }
    }
  });

  it("give back what is well-formed", () => {
    assert.equal(userId.read("@a:b", ""), "@a:b");
    assert.equal(roomIdOrAlias.read("#a:b", ""), "#a:b");
    assert.equal(roomIdOrAlias.read("!a:b", ""), "!a:b");
    assert.equal(serverName.read("b:80", ""), "b:80");
  });

  it("answer any text in a moment", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary", maxLength: 400 }),
        fc.constantFrom("", "@", "!", "$", "#"),
        (s, sigil) => {
          for (const is of [isUserId, isRoomId, isEventId, isRoomAlias, isServerName, isMediaId]) {
            assert.equal(typeof is(sigil + s), "boolean");
          }
        },
      ),
    );
    const start = process.cpuUsage();
    for (const text of [
      "@" + ":".repeat(1e6),
      "a.".repeat(5e5),
      `[${"1:".repeat(5e5)}]`,
      "1.".repeat(5e5),
    ]) {
      for (const is of [isUserId, isServerName, isMediaId, isRoomId]) assert.equal(is(text), false);
    }
    assert.ok(process.cpuUsage(start).user < 1_000_000);
  });
});
