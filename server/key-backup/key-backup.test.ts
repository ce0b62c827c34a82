import assert from "node:assert/strict";
import { after, suite, test } from "node:test";
import fc from "fast-check";
import { type ErrorCode, MatrixError } from "../../spec/errors.ts";
import type { RoomId, UserId } from "../../spec/identifiers.ts";
import { openTestDatabase } from "../../storage/testing.ts";
import { type BackedUpKey, type KeyData, KeyBackups, type KeyScope } from "./key-backup.ts";

const ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2";
const database = await openTestDatabase();
const backups = new KeyBackups({ database });
after(() => database[Symbol.asyncDispose]());

let users = 0;
const newUser = (): UserId => `@user${users++}:here.example`;
const room: RoomId = "!room:here.example";
const plain: KeyData = {
  first_message_index: 1,
  forwarded_count: 0,
  is_verified: false,
  session_data: { ciphertext: "c", odd: "\u0000" },
};

const key = (sessionId: string, data: Partial<KeyData> = {}, roomId = room): BackedUpKey => ({
  roomId,
  sessionId,
  data: { ...plain, ...data },
});

async function list(userId: UserId, version: string, scope: KeyScope = {}): Promise<BackedUpKey[]> {
  const all: BackedUpKey[] = [];
  for await (const page of backups.listKeys(userId, version, scope)) all.push(...page);
  return all;
}

const create = (userId: UserId) => backups.create(userId, ALGORITHM, { public_key: "abc" });

const fails = (errcode: ErrorCode) => (error: unknown) =>
  error instanceof MatrixError && error.errcode === errcode;

suite("backups", () => {
  test("are made, read, changed and removed; a version is never used again", async () => {
    const user = newUser();
    await assert.rejects(backups.get(user, undefined), fails("M_NOT_FOUND"));
    assert.equal(await create(user), "1");
    const authData = { public_key: "def", signatures: { [user]: { "ed25519:X": "s" } } };
    await backups.update(user, "1", { algorithm: ALGORITHM, authData, version: "1" });
    const info = { version: "1", algorithm: ALGORITHM, auth_data: authData, count: 0, etag: "0" };
    assert.deepEqual(await backups.get(user, "1"), info);
    assert.deepEqual(await backups.get(user, undefined), info);
    await backups.putKeys(user, "1", [key("A")]);
    await backups.remove(user, "1");
    await backups.remove(user, "1");
    for (const version of ["1", undefined]) {
      await assert.rejects(backups.get(user, version), fails("M_NOT_FOUND"));
    }
    assert.equal(await create(user), "2");
    assert.deepEqual(await list(user, "2"), []);
  });

  test("that are not there, or of others, are not found", async () => {
    const user = newUser();
    await create(user);
    const stranger = newUser();
    const odd = ["2", "0", "-1", "01", "1.0", "abc", "", "1\0", "9".repeat(30)];
    for (const [userId, version] of [
      [stranger, "1"] as const,
      ...odd.map((version) => [user, version] as const),
    ]) {
      const info = { algorithm: ALGORITHM, authData: { public_key: "x" } };
      const scope = { roomId: room, sessionId: "A" };
      for (const attempt of [
        () => backups.get(userId, version),
        () => backups.update(userId, version, info),
        () => backups.remove(userId, version),
        () => backups.removeKeys(userId, version, {}),
        () => backups.getKey(userId, version, scope),
        () => list(userId, version),
      ]) {
        await assert.rejects(attempt(), fails("M_NOT_FOUND"), JSON.stringify(version));
      }
    }
    await assert.rejects(backups.putKeys(stranger, "1", [key("A")]), fails("M_NOT_FOUND"));
  });

  test("keep their algorithm and version", async () => {
    const user = newUser();
    await create(user);
    const authData = { public_key: "x" };
    for (const info of [
      { algorithm: "org.example", authData },
      { algorithm: ALGORITHM, authData, version: "2" },
    ]) {
      await assert.rejects(backups.update(user, "1", info), fails("M_INVALID_PARAM"));
    }
  });

  test("are written to where they are the newest only", async () => {
    const user = newUser();
    await create(user);
    await backups.putKeys(user, "1", [key("A")]);
    await create(user);
    for (const version of ["1", "3", "x"]) {
      await assert.rejects(
        backups.putKeys(user, version, [key("B")]),
        (error) =>
          fails("M_WRONG_ROOM_KEYS_VERSION")(error) &&
          (error as MatrixError).status === 403 &&
          (error as MatrixError).fields["current_version"] === "2",
      );
    }
    assert.equal((await list(user, "1")).length, 1, "the old one can still be read");
    await backups.removeKeys(user, "1", {});
    await backups.remove(user, "2");
    assert.equal((await backups.get(user, undefined)).version, "1");
    await backups.putKeys(user, "1", [key("C")]);
  });

  test("made at once have versions of their own", async () => {
    const user = newUser();
    const versions = await Promise.all(Array.from({ length: 5 }, () => create(user)));
    assert.deepEqual(versions.toSorted(), ["1", "2", "3", "4", "5"]);
  });

  test("V083: are bounded, in number and in size", async () => {
    const user = newUser();
    const small = new KeyBackups({ database, maxKeys: 3 });
    await create(user);
    await small.putKeys(user, "1", [key("A"), key("B")]);
    await assert.rejects(
      small.putKeys(user, "1", [key("C"), key("D")]),
      fails("M_RESOURCE_LIMIT_EXCEEDED"),
    );
    assert.equal((await list(user, "1")).length, 2);
    await small.putKeys(user, "1", [key("A"), key("C")]);
    for (let i = 1; i < 100; i++) await create(user);
    await assert.rejects(create(user), fails("M_RESOURCE_LIMIT_EXCEEDED"));
  });
});

suite("keys of a backup", () => {
  test("are put, read and removed by session, by room and all", async () => {
    const user = newUser();
    await create(user);
    const other: RoomId = "!other:here.example";
    const keys = [key("A"), key("B"), key("A", { first_message_index: 5 }, other)];
    assert.deepEqual(await backups.putKeys(user, "1", keys), { etag: "1", count: 3 });
    assert.deepEqual(await list(user, "1", { roomId: room }), [key("A"), key("B")]);
    assert.deepEqual(await backups.getKey(user, "1", { roomId: room, sessionId: "B" }), plain);
    await assert.rejects(
      backups.getKey(user, "1", { roomId: other, sessionId: "B" }),
      fails("M_NOT_FOUND"),
    );
    assert.deepEqual(await list(user, "1", { roomId: "!none:here.example" }), []);
    const one = { roomId: room, sessionId: "A" };
    assert.deepEqual(await backups.removeKeys(user, "1", one), { etag: "2", count: 2 });
    assert.deepEqual(await backups.removeKeys(user, "1", one), { etag: "2", count: 2 });
    assert.deepEqual(await backups.removeKeys(user, "1", { roomId: other }), {
      etag: "3",
      count: 1,
    });
    assert.deepEqual(await backups.removeKeys(user, "1", {}), { etag: "4", count: 0 });
    assert.deepEqual(await list(user, "1"), []);
  });

  test("that are worse than what is there change nothing, not even the etag", async () => {
    const user = newUser();
    await create(user);
    const good = key("A", { is_verified: true, first_message_index: 4 });
    const { etag } = await backups.putKeys(user, "1", [good]);
    const worse = [{}, { is_verified: true, first_message_index: 4 }, { first_message_index: 0 }];
    for (const data of worse) {
      assert.deepEqual(await backups.putKeys(user, "1", [key("A", data)]), { etag, count: 1 });
    }
    assert.deepEqual(await backups.putKeys(user, "1", []), { etag, count: 1 });
    assert.deepEqual(await list(user, "1"), [good]);
  });

  test("for one session: the best stays, in whatever order they come", async () => {
    const user = newUser();
    await create(user);
    let sessions = 0;
    const data = fc.record({
      first_message_index: fc.nat(2),
      forwarded_count: fc.nat(2),
      is_verified: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(data, { minLength: 1, maxLength: 6 }), async (versions) => {
        const sessionId = `s${sessions++}`;
        for (const version of versions) await backups.putKeys(user, "1", [key(sessionId, version)]);
        // The rule of the specification, word for word.
        const best = versions.reduce((kept, offered) => {
          if (kept.is_verified !== offered.is_verified) return kept.is_verified ? kept : offered;
          if (kept.first_message_index !== offered.first_message_index) {
            return kept.first_message_index < offered.first_message_index ? kept : offered;
          }
          return kept.forwarded_count <= offered.forwarded_count ? kept : offered;
        });
        assert.deepEqual(await backups.getKey(user, "1", { roomId: room, sessionId }), {
          ...plain,
          ...best,
        });
      }),
      { numRuns: 40 },
    );
  });

  test("put at once are all there, and counted", async () => {
    const user = newUser();
    await create(user);
    await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        backups.putKeys(user, "1", [key("shared", { first_message_index: i }), key(`own${i}`)]),
      ),
    );
    const info = await backups.get(user, "1");
    assert.equal(info.count, 11);
    assert.equal(info.etag, "10");
    const shared = await backups.getKey(user, "1", { roomId: room, sessionId: "shared" });
    assert.equal(shared.first_message_index, 0);
  });

  test("are listed page by page, each once, in order of rooms", async () => {
    const user = newUser();
    await create(user);
    const rooms: RoomId[] = ["!a:here.example", "!B:here.example", "!é:here.example"];
    const keys = rooms.flatMap((roomId) =>
      Array.from({ length: 500 }, (_, i) => key(`s${i}`, {}, roomId)),
    );
    await backups.putKeys(user, "1", keys);
    const found = await list(user, "1");
    const name = ({ roomId, sessionId }: BackedUpKey) => `${roomId} ${sessionId}`;
    assert.deepEqual(found.map(name).toSorted(), keys.map(name).toSorted());
    const changes = found.filter((k, i) => i > 0 && k.roomId !== found[i - 1]?.roomId);
    assert.equal(changes.length, rooms.length - 1);
  });
});
