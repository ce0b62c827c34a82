import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { PassThrough, Readable } from "node:stream";
import { after, suite, test } from "node:test";
import sharp from "sharp";
import { MatrixError } from "../../spec/errors.ts";
import { openBlobS3 } from "../../storage/blobs-s3.ts";
import { startTestS3 } from "../../storage/s3-testing.ts";
import { openTestDatabase } from "../../storage/testing.ts";
import type { Media, RemoteFile, RemoteMedia } from "./media.ts";
import { alice, bob, HERE, openMediaWorld, partsOf, upload } from "./testing.ts";
import { openThumbnailer, type Thumbnailer, ThumbnailerBusy } from "./thumbnailer.ts";

const world = await openMediaWorld();
const { clock } = world;
/** Counts the images that reach the decoder. */
const real = openThumbnailer({ processes: 1 });
let decoded = 0;
const thumbnailer: Thumbnailer = {
  make(order) {
    return real.make({
      ...order,
      async load() {
        const image = await order.load();
        if (image !== undefined) decoded += 1;
        return image;
      },
    });
  },
  [Symbol.asyncDispose]: () => Promise.resolve(),
};
const media = world.open({ thumbnailer });
const s3 = await startTestS3();
after(async () => {
  await world[Symbol.asyncDispose]();
  await real[Symbol.asyncDispose]();
  await s3[Symbol.asyncDispose]();
});

const THUMBNAIL = { width: 32, height: 32, method: "crop", animated: false } as const;

function wanted(uri: string, more: { isAuthenticated?: boolean; timeoutMs?: number } = {}) {
  return { ...partsOf(uri), isAuthenticated: true, timeoutMs: 0, ...more };
}

async function bytesOf(from: Media, uri: string): Promise<Buffer> {
  const file = await from.download(wanted(uri));
  return Buffer.concat((await (await file.open()).toArray()) as Buffer[]);
}

async function refuses(promise: Promise<unknown>, errcode: string, status?: number): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof MatrixError, String(error));
    assert.equal(error.errcode, errcode, error.message);
    if (status !== undefined) assert.equal(error.status, status);
    return true;
  });
}

const png = (width = 64, height = 64): Promise<Buffer> =>
  sharp({ create: { width, height, channels: 3, background: "red" } })
    .png()
    .toBuffer();

suite("uploading", () => {
  test("a file comes back as it was, with its type, name and size", async () => {
    const bytes = randomBytes(100_000);
    const uri = await media.upload(
      alice,
      upload(bytes, { contentType: "image/png", fileName: "War and Peace.png" }),
    );
    assert.match(uri, /^mxc:\/\/here\.example\/[A-Za-z0-9_-]{24}$/);
    const file = await media.download(wanted(uri));
    assert.equal(file.sizeBytes, 100_000);
    assert.equal(file.headers["content-type"], "image/png");
    assert.equal(file.headers["content-disposition"], 'inline; filename="War and Peace.png"');
    assert.deepEqual(await bytesOf(media, uri), bytes);
    const renamed = await media.download({ ...wanted(uri), fileName: "other" });
    assert.equal(renamed.headers["content-disposition"], 'inline; filename="other"');
  });

  test("a file of no bytes, no type and no name is a file", async () => {
    const uri = await media.upload(alice, upload("", { contentType: undefined }));
    const file = await media.download(wanted(uri));
    assert.equal(file.headers["content-type"], "application/octet-stream");
    assert.equal(file.headers["content-disposition"], "attachment");
    assert.equal((await bytesOf(media, uri)).length, 0);
  });

  test("S02: a file is refused with its first byte too many, and leaves nothing", async () => {
    const files = await world.listFiles();
    const uri = await media.upload(alice, upload(Buffer.alloc(200_000)));
    assert.equal((await media.download(wanted(uri))).sizeBytes, 200_000);
    await refuses(media.upload(alice, upload(Buffer.alloc(200_001))), "M_TOO_LARGE", 413);
    const endless = Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(65_536);
      })(),
    );
    await refuses(media.upload(alice, upload("", { body: endless })), "M_TOO_LARGE", 413);
    assert.equal(endless.destroyed, false, "the connection still carries the answer");
    assert.equal((await world.listFiles()).length, files.length + 1);
  });

  test("S02: a file goes to disk as it comes", async () => {
    const body = new PassThrough();
    const before = await world.listFiles();
    const uploaded = media.upload(alice, upload("", { body }));
    body.write(Buffer.alloc(100_000));
    while ((await world.listFiles()).length === before.length) await pause(5);
    body.end();
    await uploaded;
  });

  test("a client that goes away leaves nothing", async () => {
    const files = await world.listFiles();
    const body = new PassThrough();
    const uploaded = media.upload(alice, upload("", { body }));
    body.write("half");
    await pause(20);
    body.destroy();
    await assert.rejects(uploaded, { name: "ClientGone" });
    const controller = new AbortController();
    const reason = new Error("draining");
    const other = media.upload(
      alice,
      upload("", { body: new PassThrough(), signal: controller.signal }),
    );
    controller.abort(reason);
    await assert.rejects(other, reason);
    assert.deepEqual(await world.listFiles(), files);
  });

  test("a user uploads few files at a time, and others are not hindered", async () => {
    const bodies = Array.from({ length: 8 }, () => new PassThrough());
    const uploads = bodies.map((body) => media.upload(alice, upload("", { body })));
    await refuses(media.upload(alice, upload("one more")), "M_LIMIT_EXCEEDED", 429);
    await media.upload(bob, upload("bob's"));
    for (const body of bodies) body.end("x");
    await Promise.all(uploads);
    await media.upload(alice, upload("one more"));
  });

  test("guests and suspended users upload nothing", async () => {
    const guest = { ...alice, isGuest: true };
    const suspended = { ...alice, isSuspended: true };
    const { contentUri } = await media.create(alice);
    for (const [who, errcode] of [
      [guest, "M_GUEST_ACCESS_FORBIDDEN"],
      [suspended, "M_USER_SUSPENDED"],
    ] as const) {
      await refuses(media.upload(who, upload("x")), errcode, 403);
      await refuses(media.create(who), errcode, 403);
      await refuses(media.uploadTo(who, partsOf(contentUri), upload("x")), errcode, 403);
    }
    await media.uploadTo(alice, partsOf(contentUri), upload("x"));
  });
});

suite("uploading to a file that was created", () => {
  test("V140: it is uploaded once, by who created it, before it expires", async () => {
    const { contentUri, unusedExpiresTs } = await media.create(alice);
    assert.equal(unusedExpiresTs, clock.now + 3_600_000);
    const file = partsOf(contentUri);
    await refuses(media.download(wanted(contentUri)), "M_NOT_YET_UPLOADED", 504);
    await refuses(media.uploadTo(bob, file, upload("bob's")), "M_FORBIDDEN", 403);
    await media.uploadTo(alice, file, upload("first", { fileName: "first.txt" }));
    await refuses(media.uploadTo(alice, file, upload("second")), "M_CANNOT_OVERWRITE_MEDIA", 409);
    await refuses(media.uploadTo(bob, file, upload("bob's")), "M_FORBIDDEN", 403);
    assert.equal((await bytesOf(media, contentUri)).toString(), "first");

    const late = await media.create(alice);
    clock.now += 3_600_000;
    await refuses(media.uploadTo(alice, partsOf(late.contentUri), upload("x")), "M_NOT_FOUND", 404);
    await refuses(media.download(wanted(late.contentUri)), "M_NOT_FOUND", 404);
    for (const unknown of [
      { serverName: HERE, mediaId: "unknown" },
      { serverName: "there.example", mediaId: file.mediaId },
    ]) {
      await refuses(media.uploadTo(alice, unknown, upload("x")), "M_NOT_FOUND", 404);
    }
  });

  test("V140: a file that was uploaded in one step is not overwritten", async () => {
    const uri = await media.upload(alice, upload("one"));
    const again = media.uploadTo(alice, partsOf(uri), upload("two"));
    await refuses(again, "M_CANNOT_OVERWRITE_MEDIA", 409);
  });

  test("V140: of uploads at the same time one wins, and nothing of the others stays", async () => {
    const { contentUri } = await media.create(alice);
    const files = await world.listFiles();
    const results = await Promise.allSettled(
      ["a", "b", "c", "d"].map((text) => media.uploadTo(alice, partsOf(contentUri), upload(text))),
    );
    const won = results.filter(({ status }) => status === "fulfilled");
    assert.equal(won.length, 1);
    for (const result of results) {
      if (result.status === "rejected")
        assert.equal(result.reason.errcode, "M_CANNOT_OVERWRITE_MEDIA");
    }
    assert.equal((await world.listFiles()).length, files.length + 1);
  });

  test("a user has few files that wait for their upload, also when he asks at the same time", async () => {
    const carol = { ...alice, userId: `@carol:${HERE}` } as const;
    const results = await Promise.allSettled([1, 2, 3, 4, 5, 6].map(() => media.create(carol)));
    const created = results.flatMap((r) => (r.status === "fulfilled" ? [r.value.contentUri] : []));
    assert.equal(created.length, 3);
    await refuses(media.create(carol), "M_LIMIT_EXCEEDED", 429);
    await media.uploadTo(carol, partsOf(created[0] ?? ""), upload("x"));
    await media.create(carol);
    await refuses(media.create(carol), "M_LIMIT_EXCEEDED", 429);
    clock.now += 3_600_000;
    await media.create(carol);
  });

  test("who asks for it in the meantime waits, whichever process it comes by", async () => {
    const other = world.open();
    const { contentUri } = await media.create(alice);
    const here = media.download(wanted(contentUri, { timeoutMs: 10_000 }));
    const there = other.download(wanted(contentUri, { timeoutMs: 10_000 }));
    await pause(30);
    await media.uploadTo(alice, partsOf(contentUri), upload("here it is"));
    for (const file of await Promise.all([here, there])) assert.equal(file.sizeBytes, 10);
  });

  test("who waits in vain, or no longer, is told", async () => {
    const { contentUri } = await media.create(bob);
    const startedAt = performance.now();
    await refuses(media.download(wanted(contentUri, { timeoutMs: 60 })), "M_NOT_YET_UPLOADED", 504);
    assert.ok(performance.now() - startedAt >= 55);
    const controller = new AbortController();
    const reason = new Error("gone");
    const waiting = media.download({
      ...wanted(contentUri, { timeoutMs: 10_000 }),
      signal: controller.signal,
    });
    setTimeout(() => controller.abort(reason), 20);
    await assert.rejects(waiting, reason);
  });
});

suite("downloading", () => {
  test("what is not there is not found", async () => {
    await refuses(media.download(wanted(`mxc://${HERE}/unknown`)), "M_NOT_FOUND", 404);
    await refuses(media.thumbnail({ ...wanted(`mxc://${HERE}/x`), ...THUMBNAIL }), "M_NOT_FOUND");
  });

  test("a part of a file is read by itself", async () => {
    const uri = await media.upload(alice, upload("0123456789"));
    const file = await media.download(wanted(uri));
    const part = await (await file.open({ start: 3, end: 5 })).toArray();
    assert.equal(Buffer.concat(part as Buffer[]).toString(), "345");
  });

  test("without a token only what came before unauthenticated access was frozen is there", async () => {
    const open = world.open({ settings: { requiresAuthentication: false } });
    const before = await open.upload(alice, upload("before"));
    const since = await media.upload(alice, upload("since"));
    const pending = await media.create(alice);
    const anyone = { isAuthenticated: false };
    assert.equal((await media.download(wanted(before, anyone))).sizeBytes, 6);
    await refuses(media.download(wanted(since, anyone)), "M_NOT_FOUND", 404);
    await refuses(media.thumbnail({ ...wanted(since, anyone), ...THUMBNAIL }), "M_NOT_FOUND");
    await refuses(media.download(wanted(pending.contentUri, anyone)), "M_NOT_FOUND", 404);
    assert.equal((await open.download(wanted(since, anyone))).sizeBytes, 5, "thawed");
    await media.uploadTo(alice, partsOf(pending.contentUri), upload("x"));
  });

  test("an object that is lost is not found, and reported", async () => {
    const uri = await media.upload(alice, upload("x"));
    await world.database.pool.query("update media set blob_key = $1 where media_id = $2", [
      "00000000lost",
      partsOf(uri).mediaId,
    ]);
    const file = await media.download(wanted(uri));
    world.errors.length = 0;
    await refuses(file.open(), "M_NOT_FOUND", 404);
    assert.equal(world.errors.length, 1);
  });
});

suite("thumbnails", () => {
  test("a thumbnail is made once, and kept", async () => {
    const uri = await media.upload(
      alice,
      upload(await png(500, 500), { contentType: "text/html" }),
    );
    decoded = 0;
    const ask = () => media.thumbnail({ ...wanted(uri), ...THUMBNAIL });
    const made = await Promise.all([ask(), ask(), ask()]);
    assert.equal(decoded, 1);
    const kept = await ask();
    assert.equal(decoded, 1);
    assert.equal(kept.etag, made[0]?.etag);
    const bytes = Buffer.concat((await (await kept.open()).toArray()) as Buffer[]);
    const metadata = await sharp(bytes).metadata();
    assert.deepEqual([metadata.width, metadata.height, metadata.format], [32, 32, "png"]);
    assert.equal(kept.headers["content-type"], "image/png");
    assert.equal(kept.headers["content-disposition"], 'inline; filename="thumbnail.png"');
    // Rounded up to the same.
    await media.thumbnail({ ...wanted(uri), ...THUMBNAIL, width: 20, height: 20 });
    assert.equal(decoded, 1);
  });

  test("a smaller image comes as it is, under the type that it has", async () => {
    const bytes = await png(16, 16);
    const uri = await media.upload(alice, upload(bytes, { contentType: "text/html" }));
    for (let i = 0; i < 2; i += 1) {
      const file = await media.thumbnail({ ...wanted(uri), ...THUMBNAIL });
      assert.equal(file.headers["content-type"], "image/png");
      assert.match(file.headers["content-disposition"] ?? "", /^inline/);
      assert.deepEqual(Buffer.concat((await (await file.open()).toArray()) as Buffer[]), bytes);
    }
  });

  test("V133: what is not one of four formats is refused without being decoded", async () => {
    decoded = 0;
    const tiff = await sharp(await png())
      .tiff()
      .toBuffer();
    const files = [
      `<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>`,
      "%PDF-1.4",
      "8BPS\0\u0001",
      "\0\0\0\u0018ftypmp42",
      tiff,
      "",
      "just text",
    ];
    for (const bytes of files) {
      const uri = await media.upload(alice, upload(bytes, { contentType: "image/png" }));
      for (let i = 0; i < 2; i += 1) {
        await refuses(media.thumbnail({ ...wanted(uri), ...THUMBNAIL }), "M_UNKNOWN", 400);
      }
    }
    assert.equal(decoded, 0);
  });

  test("an image that cannot be decoded is looked at once", async () => {
    const broken = (await png(500, 500)).subarray(0, 50);
    const uri = await media.upload(alice, upload(broken));
    decoded = 0;
    for (let i = 0; i < 2; i += 1) {
      await refuses(media.thumbnail({ ...wanted(uri), ...THUMBNAIL }), "M_UNKNOWN", 400);
    }
    assert.equal(decoded, 1);
  });

  test("an image with too many pixels is too large", async () => {
    const uri = await media.upload(alice, upload(await png(1001, 1000)));
    await refuses(media.thumbnail({ ...wanted(uri), ...THUMBNAIL }), "M_TOO_LARGE", 413);
  });

  test("when many are being made, more are refused for now", async () => {
    const busy = world.open({
      thumbnailer: {
        make: () => Promise.reject(new ThumbnailerBusy("busy")),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      },
    });
    const uri = await media.upload(alice, upload(await png(500, 500)));
    await refuses(busy.thumbnail({ ...wanted(uri), ...THUMBNAIL }), "M_LIMIT_EXCEEDED", 429);
  });

  test("few thumbnails of a file are kept, and more are still made", async () => {
    const uri = await media.upload(alice, upload(await png(300, 300)));
    const { mediaId } = partsOf(uri);
    for (let i = 0; i < 30; i += 1) {
      await media.thumbnail({ ...wanted(uri), ...THUMBNAIL, width: 100 + i, height: 60 });
    }
    const { rows } = await world.database.pool.query<{ count: number }>(
      "select count(*) from media_thumbnails where media_id = $1",
      [mediaId],
    );
    assert.equal(rows[0]?.count, 24);
  });
});

suite("other servers", () => {
  const fetched: string[] = [];
  let answer: () => RemoteFile | undefined = () => undefined;
  const remote: RemoteMedia = {
    async fetch({ serverName, mediaId }) {
      fetched.push(`${serverName}/${mediaId}`);
      return answer();
    },
  };
  const reaching = world.open({ remote, thumbnailer });
  const there = (id: string): string => `mxc://there.example/${id}`;
  const file = (content: Readable): RemoteFile => ({
    contentType: "image/png",
    contentDisposition: 'inline; filename="their.png"',
    content,
  });

  test("a file is fetched once, for who is logged in, and kept", async () => {
    answer = () => file(Readable.from([Buffer.from("theirs")]));
    const both = await Promise.all([
      reaching.download(wanted(there("one"))),
      reaching.download(wanted(there("one"))),
    ]);
    assert.equal(both[0].headers["content-disposition"], 'inline; filename="their.png"');
    assert.equal((await bytesOf(reaching, there("one"))).toString(), "theirs");
    assert.deepEqual(fetched.splice(0), ["there.example/one"]);
  });

  test("V130: nobody without a token makes us fetch; nor who does not want it", async () => {
    const anyone = wanted(there("two"), { isAuthenticated: false });
    await refuses(reaching.download(anyone), "M_NOT_FOUND", 404);
    await refuses(reaching.thumbnail({ ...anyone, ...THUMBNAIL }), "M_NOT_FOUND", 404);
    await refuses(reaching.download({ ...anyone, allowRemote: true }), "M_NOT_FOUND", 404);
    const noRemote = { ...wanted(there("two")), allowRemote: false };
    await refuses(reaching.download(noRemote), "M_NOT_FOUND", 404);
    await refuses(reaching.download(wanted(`mxc://${HERE}/unknown`)), "M_NOT_FOUND", 404);
    assert.deepEqual(fetched, []);
  });

  test("what is not there, too large, or broken off is told so, and not kept", async () => {
    const files = await world.listFiles();
    answer = () => undefined;
    await refuses(reaching.download(wanted(there("none"))), "M_NOT_FOUND", 404);
    const large = Readable.from([Buffer.alloc(200_001)]);
    answer = () => file(large);
    await refuses(reaching.download(wanted(there("large"))), "M_TOO_LARGE", 502);
    assert.equal(large.destroyed, true);
    const broken = new PassThrough();
    answer = () => file(broken);
    setTimeout(() => broken.destroy(), 20);
    await refuses(reaching.download(wanted(there("broken"))), "M_UNKNOWN", 502);
    assert.deepEqual(await world.listFiles(), files);
    fetched.length = 0;
  });

  test("V104: a file in quarantine is nowhere, though it was fetched before", async () => {
    const image = await png(500, 500);
    answer = () => file(Readable.from([image]));
    const ours = await media.upload(alice, upload(image));
    for (const uri of [there("bad"), ours]) {
      await reaching.download(wanted(uri));
      await reaching.thumbnail({ ...wanted(uri), ...THUMBNAIL });
      assert.equal(await reaching.quarantine(partsOf(uri), alice.userId), true);
      fetched.length = 0;
      for (const isAuthenticated of [true, false]) {
        const asked = wanted(uri, { isAuthenticated });
        await refuses(reaching.download(asked), "M_NOT_FOUND", 404);
        await refuses(reaching.thumbnail({ ...asked, ...THUMBNAIL }), "M_NOT_FOUND", 404);
        const small = { ...THUMBNAIL, width: 1000, height: 1000 };
        await refuses(reaching.thumbnail({ ...asked, ...small }), "M_NOT_FOUND", 404);
      }
      assert.deepEqual(fetched, []);
      assert.equal(await reaching.quarantine(partsOf(uri), undefined), true);
      await reaching.download(wanted(uri));
    }
    assert.equal(await reaching.quarantine({ serverName: HERE, mediaId: "x" }, undefined), false);
  });

  test("what nobody reads for long can be removed", async () => {
    answer = () => file(Readable.from([Buffer.from("theirs")]));
    await reaching.download(wanted(there("old")));
    clock.now += 10 * 24 * 3_600_000;
    await reaching.download(wanted(there("new")));
    await reaching.download(wanted(there("one")));
    assert.equal(await reaching.removeUnreadRemote(clock.now - 24 * 3_600_000), 2);
    fetched.length = 0;
    await reaching.download(wanted(there("one")));
    await reaching.download(wanted(there("old")));
    assert.deepEqual(fetched, ["there.example/old"]);
  });
});

suite("removing", () => {
  test("a file goes with its thumbnails, and nothing of it stays", async () => {
    const files = await world.listFiles();
    const uri = await media.upload(alice, upload(await png(500, 500)));
    await media.thumbnail({ ...wanted(uri), ...THUMBNAIL });
    assert.equal((await world.listFiles()).length, files.length + 2);
    assert.equal(await media.remove(partsOf(uri)), true);
    await refuses(media.download(wanted(uri)), "M_NOT_FOUND", 404);
    assert.equal(await media.remove(partsOf(uri)), false);
    assert.deepEqual(new Set(await world.listFiles()), new Set(files));
  });

  test("what was created and never uploaded is forgotten", async () => {
    const { contentUri } = await media.create(bob);
    const { mediaId } = partsOf(contentUri);
    const isThere = async (): Promise<boolean> =>
      (await world.database.pool.query("select 1 from media where media_id = $1", [mediaId]))
        .rowCount === 1;
    await media.collect();
    assert.equal(await isThere(), true);
    clock.now += 2 * 24 * 3_600_000;
    await media.collect();
    assert.equal(await isThere(), false);
  });

  test("F07: what a killed process left half-written is collected", async () => {
    const files = await world.listFiles();
    const body = new PassThrough();
    const uploaded = media.upload(alice, upload("", { body }));
    body.write("half");
    while ((await world.listFiles()).length === files.length) await pause(5);
    // Too early: it may still be written.
    await media.collect();
    assert.equal((await world.listFiles()).length, files.length + 1);
    clock.now += 25 * 3_600_000;
    await media.collect();
    assert.deepEqual(await world.listFiles(), files);
    // Had its writer lived, it would not tell of a file that is not there.
    body.end();
    await refuses(uploaded, "M_UNKNOWN", 503);
    assert.deepEqual(await world.listFiles(), files);
  });
});

suite("scanning", () => {
  test("what is infected, or cannot be looked into, is not let in", async () => {
    const files = await world.listFiles();
    let verdict: () => Promise<"clean" | "infected"> = async () => "clean";
    const seen: unknown[] = [];
    const scanned = world.open({
      scanner: {
        async scan(content, about) {
          seen.push({
            ...about,
            text: Buffer.concat((await content.toArray()) as Buffer[]).toString(),
          });
          return verdict();
        },
      },
    });
    const uri = await scanned.upload(alice, upload("good", { fileName: "a.txt" }));
    assert.equal((await bytesOf(scanned, uri)).toString(), "good");
    const about = { contentType: "text/plain", fileName: "a.txt", sizeBytes: 4, text: "good" };
    assert.deepEqual(seen, [about]);
    verdict = async () => "infected";
    await refuses(scanned.upload(alice, upload("bad")), "M_FORBIDDEN", 403);
    verdict = () => Promise.reject(new Error("the scanner is away"));
    await refuses(scanned.upload(alice, upload("unknown")), "M_UNKNOWN", 503);
    assert.equal((await world.listFiles()).length, files.length + 1);
  });
});

suite("with S3", () => {
  test("F07: an upload is answered when it is durable; while S3 is away with 503, soon, and reads with 502 or 504", async () => {
    await using database = await openTestDatabase();
    await using store = openBlobS3(s3.options);
    const errors: unknown[] = [];
    const open = (): Media =>
      world.open({ database, blobs: store, onError: (error) => errors.push(error), thumbnailer });
    const inS3 = open();
    const uri = await inS3.upload(alice, upload("durable"));
    assert.equal((await bytesOf(inS3, uri)).toString(), "durable");

    s3.hang(true);
    const startedAt = performance.now();
    await refuses(inS3.upload(alice, upload("hanging")), "M_UNKNOWN", 503);
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs < 2 * 400, `the store was asked once: ${tookMs} ms`);
    await refuses((await inS3.download(wanted(uri))).open(), "M_UNKNOWN", 504);
    s3.hang(false);

    // In the middle of an upload.
    const large = world.open({
      database,
      blobs: store,
      settings: { maxUploadBytes: 20_000_000 },
      onError: (error) => errors.push(error),
      thumbnailer,
    });
    const body = new PassThrough();
    const uploaded = refuses(large.upload(alice, upload("", { body })), "M_UNKNOWN", 503);
    body.write(Buffer.alloc(5 * 1024 * 1024));
    while (!s3.requests.some((request) => request.includes("partNumber=1"))) await pause(5);
    await s3.stop();
    body.end(Buffer.alloc(6 * 1024 * 1024));
    await uploaded;
    await refuses(inS3.upload(alice, upload("gone")), "M_UNKNOWN", 503);
    await refuses((await inS3.download(wanted(uri))).open(), "M_UNKNOWN", 502);

    await s3.start();
    assert.equal((await bytesOf(inS3, uri)).toString(), "durable");
    const again = await inS3.upload(alice, upload("again"));
    assert.equal((await bytesOf(inS3, again)).toString(), "again");
    clock.now += 25 * 3_600_000;
    await inS3.collect();
    const { rows } = await database.pool.query("select 1 from doomed_blobs");
    assert.deepEqual(rows, [], "what was half-written is collected");
    const kept = await database.pool.query("select 1 from media");
    assert.equal(kept.rowCount, 2);
    assert.equal((await listObjects()).length, 2);
  });
});

async function listObjects(): Promise<string[]> {
  const names = await readdir(s3.folder, { recursive: true });
  return names.filter((name) => name.endsWith("_object"));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
