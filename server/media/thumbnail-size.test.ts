import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { chooseThumbnail, type ImageFacts, type ThumbnailRequest } from "./thumbnail-size.ts";

const MAX = 1e7;
const png = (width: number, height: number, pages = 1): ImageFacts => ({
  kind: pages > 1 ? "gif" : "png",
  width,
  height,
  pages,
});

function choose(image: ImageFacts, request: Partial<ThumbnailRequest>): string {
  const whole = { width: 96, height: 96, method: "scale", animated: false, ...request } as const;
  const chosen = chooseThumbnail(image, whole, MAX);
  if (chosen.isOriginal) return "original";
  return `${chosen.width}x${chosen.height}${chosen.animated ? " animated" : ""}`;
}

test("sizes are rounded up to few, keep the ratio, and are never larger than the image", () => {
  const table: [ImageFacts, Partial<ThumbnailRequest>, string][] = [
    // The sizes of the specification.
    [png(1000, 1000), { width: 32, height: 32, method: "crop" }, "32x32"],
    [png(1000, 1000), { width: 96, height: 96, method: "crop" }, "96x96"],
    [png(4000, 3000), { width: 320, height: 240 }, "320x240"],
    [png(4000, 3000), { width: 640, height: 480 }, "640x480"],
    [png(4000, 3000), { width: 800, height: 600 }, "800x600"],
    // Rounded up.
    [png(1000, 1000), { width: 40, height: 40, method: "crop" }, "96x96"],
    [png(1000, 1000), { width: 100, height: 50, method: "crop" }, "320x160"],
    [png(4000, 3000), { width: 1, height: 1 }, "320x240"],
    [png(4000, 3000), { width: 321, height: 1 }, "640x480"],
    [png(4000, 3000), { width: 900, height: 100 }, "1600x1200"],
    // Beyond the largest size: as asked for.
    [png(4000, 3000), { width: 2000, height: 100 }, "2000x1500"],
    [png(4000, 3000), { width: 2000, height: 1000, method: "crop" }, "2000x1000"],
    // Both sides at least as long as asked for.
    [png(1000, 500), { width: 320, height: 240 }, "480x240"],
    [png(500, 1000), { width: 320, height: 240 }, "320x640"],
    // What is smaller comes as it is.
    [png(50, 50), { width: 96, height: 96 }, "original"],
    [png(50, 50), { width: 96, height: 96, method: "crop" }, "original"],
    [png(400, 300), { width: 350, height: 250 }, "original"],
    [png(10_000, 100), { width: 320, height: 240 }, "original"],
    // A cut never enlarges.
    [png(1000, 20), { width: 32, height: 32, method: "crop" }, "20x20"],
    [png(200, 200), { width: 150, height: 150, method: "crop" }, "original"],
    [png(3000, 1), { width: 32, height: 320, method: "crop" }, "1x1"],
    // Animations.
    [
      png(1000, 1000, 5),
      { width: 32, height: 32, method: "crop", animated: true },
      "32x32 animated",
    ],
    [png(1000, 1000, 5), { width: 32, height: 32, method: "crop" }, "32x32"],
    [png(1000, 1000, 50), { width: 32, height: 32, method: "crop", animated: true }, "32x32"],
    [png(50, 50, 5), { animated: true }, "original"],
    [png(50, 50, 5), {}, "50x50"],
    [{ ...png(50, 50), kind: "apng" }, {}, "50x50"],
    [{ ...png(50, 50), kind: "apng" }, { animated: true }, "original"],
    [png(1000, 1000), { width: 32, height: 32, method: "crop", animated: true }, "32x32"],
  ];
  for (const [image, request, expected] of table) {
    assert.equal(choose(image, request), expected, JSON.stringify({ image, request }));
  }
});

test("a thumbnail is never enlarged, and never smaller than asked for where the image is not", () => {
  const side = fc.integer({ min: 1, max: 5000 });
  fc.assert(
    fc.property(side, side, side, side, fc.boolean(), (iw, ih, width, height, isCrop) => {
      const method = isCrop ? "crop" : "scale";
      const chosen = chooseThumbnail(png(iw, ih), { width, height, method, animated: false }, 1e9);
      if (chosen.isOriginal) return;
      assert.ok(chosen.width <= iw && chosen.height <= ih);
      assert.ok(chosen.width >= 1 && chosen.height >= 1);
      if (iw >= width && ih >= height) assert.ok(chosen.width >= width && chosen.height >= height);
    }),
  );
});
