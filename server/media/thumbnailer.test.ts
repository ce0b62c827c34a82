import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { after, test } from "node:test";
import sharp from "sharp";
import { imageKind, type ImageKind } from "./image-kind.ts";
import type { ThumbnailResult } from "./thumbnail-process.ts";
import type { ThumbnailRequest } from "./thumbnail-size.ts";
import { openThumbnailer, type ThumbnailOrder, ThumbnailerBusy } from "./thumbnailer.ts";

const thumbnailer = openThumbnailer({ processes: 1 });
after(() => thumbnailer[Symbol.asyncDispose]());

const RED = { r: 255, g: 0, b: 0 };
const blank = (width: number, height: number, channels: 3 | 4 = 3) =>
  sharp({ create: { width, height, channels, background: { ...RED, alpha: 0.5 } } });

function job(
  bytes: Buffer,
  kind: ImageKind,
  request: Partial<ThumbnailRequest> = {},
): ThumbnailOrder {
  const whole = { width: 32, height: 32, method: "crop", animated: false, ...request } as const;
  return { load: async () => ({ bytes, kind }), request: whole, maxPixels: 1_000_000 };
}

async function made(result: Promise<ThumbnailResult | { problem: string }>) {
  const { image, thumbnail } = await result.then((r) => {
    assert.ok("image" in r, JSON.stringify(r));
    return r;
  });
  assert.ok(thumbnail !== undefined);
  return { image, thumbnail, metadata: await sharp(thumbnail.bytes).metadata() };
}

test("thumbnails are made of the four formats", async () => {
  const table: [ImageKind, Buffer, string][] = [
    ["jpeg", await blank(100, 80).jpeg().toBuffer(), "jpeg"],
    ["png", await blank(100, 80).png().toBuffer(), "png"],
    ["png", await blank(100, 80, 4).png().toBuffer(), "png"],
    ["webp", await blank(100, 80).webp().toBuffer(), "jpeg"],
    ["webp", await blank(100, 80, 4).webp().toBuffer(), "png"],
    ["gif", await blank(100, 80).gif().toBuffer(), "png"],
  ];
  for (const [kind, bytes, format] of table) {
    assert.equal(imageKind(bytes), kind);
    const { image, thumbnail, metadata } = await made(thumbnailer.make(job(bytes, kind)));
    assert.deepEqual(image, { kind, width: 100, height: 80, pages: 1 });
    assert.equal(thumbnail.contentType, `image/${format}`);
    assert.equal(metadata.format, format);
    assert.deepEqual([metadata.width, metadata.height], [32, 32]);
  }
});

test("an image is turned upright, and nothing of its metadata stays", async () => {
  const bytes = await blank(100, 50)
    .withExif({ IFD0: { Copyright: "secret place", Orientation: "6" } })
    .withMetadata({ orientation: 6 })
    .jpeg()
    .toBuffer();
  const scaled = { width: 20, height: 40, method: "scale" } as const;
  const { image, thumbnail, metadata } = await made(
    thumbnailer.make(job(bytes, "jpeg", { ...scaled, method: "crop" })),
  );
  assert.deepEqual([image.width, image.height], [50, 100]);
  assert.deepEqual([metadata.width, metadata.height], [48, 96]);
  assert.equal(metadata.exif, undefined);
  assert.equal(Buffer.from(thumbnail.bytes).includes("secret"), false);
});

test("an animation moves on where that is asked for, and stands still where not", async () => {
  const frames = await Promise.all(
    [RED, { r: 0, g: 255, b: 0 }].map((background) =>
      sharp({ create: { width: 100, height: 100, channels: 3, background } })
        .png()
        .toBuffer(),
    ),
  );
  const gif = await sharp(frames, { join: { animated: true } })
    .gif()
    .toBuffer();
  const moving = await made(thumbnailer.make(job(gif, "gif", { animated: true })));
  assert.equal(moving.image.pages, 2);
  assert.equal(moving.thumbnail.contentType, "image/webp");
  assert.equal(moving.metadata.pages, 2);
  const still = await made(thumbnailer.make(job(gif, "gif")));
  assert.equal(still.metadata.pages ?? 1, 1);
});

test("an image with too many pixels is refused before it is decoded", async () => {
  const bytes = await blank(2000, 1000).png({ compressionLevel: 9 }).toBuffer();
  assert.deepEqual(await thumbnailer.make(job(bytes, "png")), { problem: "too-large" });
});

test("V133: what is no image of the four formats reaches no decoder, even past the first look", async () => {
  const svg = Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>`,
  );
  const tiff = await blank(50, 50).tiff().toBuffer();
  const avif = await blank(50, 50).avif().toBuffer();
  const pdf = Buffer.from("%PDF-1.4\n1 0 obj\n<<>>\nendobj\n");
  const psd = Buffer.from(
    "8BPS\0\u0001\0\0\0\0\0\0\0\u0003\0\0\0\u0001\0\0\0\u0001\0\u0008\0\u0003",
  );
  const mp4 = Buffer.from("\0\0\0\u0018ftypmp42\0\0\0\0mp42isom");
  for (const bytes of [svg, tiff, avif, pdf, psd, mp4, Buffer.alloc(0), Buffer.from("GIF")]) {
    assert.equal(imageKind(bytes), undefined);
    assert.deepEqual(await thumbnailer.make(job(bytes, "png")), { problem: "undecodable" });
  }
});

test("V133: broken images are told as such, and the next one is made", async () => {
  const png = await sharp(
    Buffer.from(Array.from({ length: 100 * 100 * 3 }, (_, i) => (i * 7919) % 251)),
    {
      raw: { width: 100, height: 100, channels: 3 },
    },
  )
    .png()
    .toBuffer();
  for (const bytes of [png.subarray(0, 60), png.subarray(0, 20), Buffer.alloc(1000, 0xff)]) {
    assert.deepEqual(await thumbnailer.make(job(bytes, "png")), { problem: "undecodable" });
  }
  await made(thumbnailer.make(job(png, "png")));
});

test("V133: the process is killed when an image takes too long, and another one takes over", async () => {
  await using hasty = openThumbnailer({ processes: 1, timeoutMs: 1 });
  const bytes = await blank(100, 100).png().toBuffer();
  assert.deepEqual(await hasty.make(job(bytes, "png")), { problem: "killed" });
  await using killed = openThumbnailer({ processes: 1 });
  const first = killed.make(job(bytes, "png"));
  await new Promise(setImmediate);
  killChildren();
  assert.deepEqual(await first, { problem: "killed" });
  await made(killed.make(job(bytes, "png")));
});

test("what cannot be read is told as it is, and what is no image never decoded", async () => {
  const error = new Error("the store is away");
  const order = job(Buffer.alloc(0), "png");
  await assert.rejects(thumbnailer.make({ ...order, load: () => Promise.reject(error) }), error);
  const none = thumbnailer.make({ ...order, load: async () => undefined });
  assert.deepEqual(await none, { problem: "undecodable" });
});

test("V133: few images are decoded at a time, and few wait", async () => {
  await using small = openThumbnailer({ processes: 1, maxWaiting: 2 });
  const bytes = await blank(100, 100).png().toBuffer();
  const results = await Promise.allSettled(
    [1, 2, 3, 4, 5].map(() => small.make(job(bytes, "png"))),
  );
  assert.deepEqual(
    results.map(({ status }) => status),
    ["fulfilled", "fulfilled", "fulfilled", "rejected", "rejected"],
  );
  assert.ok(results[3]?.status === "rejected" && results[3].reason instanceof ThumbnailerBusy);
});

/** Kills the processes that this one started, but for that of the shared thumbnailer. */
function killChildren(): void {
  const children = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => statusOf(pid).includes(`PPid:\t${process.pid}\n`))
    .map(Number);
  process.kill(Math.max(...children), "SIGKILL");
}

function statusOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return "";
  }
}
