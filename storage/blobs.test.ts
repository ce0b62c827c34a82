import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { after, suite, test } from "node:test";
import { openBlobFolder } from "./blobs-folder.ts";
import { openBlobS3 } from "./blobs-s3.ts";
import { type BlobStore, BlobStoreUnavailable } from "./blobs.ts";
import { startTestS3 } from "./s3-testing.ts";

const s3 = await startTestS3();
const folder = await mkdtemp(join(tmpdir(), "gomin-blobs-"));
const inFolder = openBlobFolder(join(folder, "not", "yet", "there"));
const inS3 = openBlobS3(s3.options);
after(async () => {
  await inS3[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const newKey = (): string => randomBytes(16).toString("hex");

async function read(store: BlobStore, key: string, range?: { start: number; end: number }) {
  const stream = await store.get(key, range);
  return stream === undefined ? undefined : Buffer.concat((await stream.toArray()) as Buffer[]);
}

/** A source that gives some bytes and then breaks. */
function breaking(bytes: number, error: Error): Readable {
  return Readable.from(
    (async function* () {
      yield Buffer.alloc(bytes, "x");
      throw error;
    })(),
    { objectMode: false },
  );
}

for (const [name, store] of [
  ["folder", inFolder],
  ["S3", inS3],
] as const) {
  suite(name, () => {
    test("what was written is read, whole and in parts, with its size and hash", async () => {
      // From nothing to a little more than two parts of S3.
      for (const size of [0, 1, 100_000, 5 * 1024 * 1024, 11_000_000]) {
        const key = newKey();
        const bytes = randomBytes(size);
        const stored = await store.put(key, Readable.from(pieces(bytes), { objectMode: false }));
        assert.equal(stored.sizeBytes, size);
        assert.deepEqual(stored.sha256, createHash("sha256").update(bytes).digest());
        assert.ok((await read(store, key))?.equals(bytes));
        assert.equal(await store.exists(key), true);
        if (size < 100_000) continue;
        for (const range of [
          { start: 0, end: 0 },
          { start: 5, end: 1004 },
          { start: size - 1, end: size - 1 },
          { start: 0, end: size - 1 },
        ]) {
          assert.deepEqual(
            await read(store, key, range),
            bytes.subarray(range.start, range.end + 1),
          );
        }
      }
    });

    test("there is nothing where nothing was written or it was removed", async () => {
      const key = newKey();
      assert.equal(await store.get(key), undefined);
      assert.equal(await store.exists(key), false);
      await store.remove(key);
      await store.put(key, Readable.from([Buffer.from("x")]));
      await store.remove(key);
      assert.equal(await store.get(key), undefined);
      assert.equal(await store.exists(key), false);
    });

    test("a source that breaks passes its error on, and leaves no object", async () => {
      for (const size of [10, 6_000_000]) {
        const key = newKey();
        const error = new Error("the client went away");
        await assert.rejects(store.put(key, breaking(size, error)), error);
        assert.equal(await store.exists(key), false);
        await store.remove(key);
      }
    });

    test("an object is not seen before it is whole", async () => {
      const key = newKey();
      const source = new PassThrough();
      const written = store.put(key, source);
      source.write(Buffer.alloc(6_000_000));
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal(await store.exists(key), false);
      source.end("end");
      await written;
      assert.equal(await store.exists(key), true);
    });

    test("a key that could name something else is refused", async () => {
      for (const key of ["../../etc/passwd", "", "A".repeat(20), "a/b/c/d/e/f", "12345678.part"]) {
        await assert.rejects(store.put(key, Readable.from([])), TypeError);
        await assert.rejects(store.get(key), TypeError);
        await assert.rejects(store.remove(key), TypeError);
      }
    });

    test("a check writes and reads, and leaves nothing", async () => {
      await store.check("check-of-a-test");
      assert.equal(await store.exists("check-of-a-test"), false);
    });
  });
}

suite("folder", () => {
  test("removing an object removes what a killed writer left", async () => {
    const key = newKey();
    const root = await mkdtemp(join(folder, "killed-"));
    const store = openBlobFolder(root);
    const source = new PassThrough();
    const written = store.put(key, source);
    source.write("half");
    const place = join(root, key.slice(0, 2), key.slice(2, 4));
    await waitFor(async () => (await readdir(place).catch(() => [])).length > 0);
    assert.deepEqual(await readdir(place), [`${key}.part`]);
    await store.remove(key);
    assert.deepEqual(await readdir(place), []);
    source.end();
    await assert.rejects(written, BlobStoreUnavailable);
  });

  test("a folder that cannot be written is told as unavailable", async () => {
    const source = Readable.from([Buffer.from("x")]);
    await assert.rejects(openBlobFolder("/dev/null/x").put(newKey(), source), BlobStoreUnavailable);
    assert.equal(source.destroyed, true);
  });
});

suite("S3", () => {
  test("objects lie under the prefix", async () => {
    const key = newKey();
    await inS3.put(key, Readable.from([Buffer.from("x")]));
    assert.ok(s3.requests.includes(`PUT /${s3.options.bucket}/gomin/${key}`));
  });

  test("F07: a server that is gone or hangs is told soon, while writing and reading", async () => {
    const key = newKey();
    await inS3.put(key, Readable.from([Buffer.alloc(1000)]));
    const calls: (() => Promise<unknown>)[] = [
      () => inS3.put(newKey(), Readable.from([Buffer.from("x")])),
      () => inS3.put(newKey(), Readable.from(pieces(Buffer.alloc(6_000_000)))),
      () => inS3.get(key),
      () => inS3.exists(key),
      () => inS3.remove(newKey()),
      () => inS3.check("check-of-a-test"),
    ];
    s3.hang(true);
    for (const call of calls) {
      const startedAt = performance.now();
      await assert.rejects(call, BlobStoreUnavailable);
      assert.ok(performance.now() - startedAt < 3000, "it took too long");
    }
    s3.hang(false);
    await s3.stop();
    for (const call of calls) await assert.rejects(call, BlobStoreUnavailable);
    await s3.start();
    assert.equal((await read(inS3, key))?.length, 1000, "it is there again");
  });

  test("F07: a server that goes away between the parts of a large object fails the write", async () => {
    const key = newKey();
    const source = new PassThrough();
    const written = inS3.put(key, source);
    const failed = assert.rejects(written, BlobStoreUnavailable);
    source.write(Buffer.alloc(5 * 1024 * 1024));
    await waitFor(async () =>
      s3.requests.some((r) => r.includes(key) && r.includes("partNumber=1")),
    );
    await s3.stop();
    source.end(Buffer.alloc(6 * 1024 * 1024));
    await failed;
    await s3.start();
    assert.equal(await inS3.exists(key), false);
  });

  test("a slow reader is waited for, a stalled server is not", async () => {
    const stalling = createServer((_request, response) => {
      response.writeHead(200, { "content-length": "2000000" });
      response.write(Buffer.alloc(1_500_000));
    });
    await new Promise<void>((resolve) => stalling.listen(0, "127.0.0.1", resolve));
    const endpoint = `http://127.0.0.1:${(stalling.address() as AddressInfo).port}`;
    await using store = openBlobS3({ ...s3.options, endpoint });
    const stream = await store.get(newKey());
    assert.ok(stream !== undefined);
    try {
      stream.pause();
      await new Promise((resolve) => setTimeout(resolve, 900));
      let bytes = 0;
      await assert.rejects(async () => {
        for await (const chunk of stream) bytes += (chunk as Buffer).length;
      }, BlobStoreUnavailable);
      assert.equal(bytes, 1_500_000, "what had come was read");
    } finally {
      stalling.close();
      stalling.closeAllConnections();
    }
  });

  test("a wrong access key and a missing bucket are told as unavailable", async () => {
    for (const wrong of [{ accessKey: "nobody" }, { bucket: "not-there" }]) {
      await using store = openBlobS3({ ...s3.options, ...wrong });
      await assert.rejects(
        store.check("check-of-a-test"),
        BlobStoreUnavailable,
        JSON.stringify(wrong),
      );
    }
  });
});

function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

async function waitFor(isTrue: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 400; i += 1) {
    if (await isTrue()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("waited in vain");
}
