/**
 * The process that decodes images: the one file that knows sharp.
 *
 * It runs apart from the server, which kills it when an image takes too long, and outlives it when an
 * image breaks it. It has no environment, no sockets, and no decoders but those of four formats.
 */
import sharp from "sharp";
import type { ImageKind } from "./image-kind.ts";
import { chooseThumbnail, type ImageFacts, type ThumbnailRequest } from "./thumbnail-size.ts";

export interface ThumbnailJob {
  bytes: Uint8Array;
  kind: ImageKind;
  request: ThumbnailRequest;
  maxPixels: number;
}

export interface MadeThumbnail {
  bytes: Uint8Array;
  contentType: string;
  width: number;
  height: number;
  method: "crop" | "scale";
  animated: boolean;
}

export type ThumbnailResult =
  /** `thumbnail` is undefined where the file itself is what was asked for. */
  | { image: ImageFacts; thumbnail: MadeThumbnail | undefined }
  | { problem: "too-large" | "undecodable" };

const JPEG_QUALITY = 80;

// One image uses one core, and nothing of it stays.
sharp.concurrency(1);
sharp.cache(false);
sharp.block({ operation: ["VipsForeignLoad"] });
sharp.unblock({
  operation: [
    "VipsForeignLoadJpegBuffer",
    "VipsForeignLoadPngBuffer",
    "VipsForeignLoadNsgifBuffer",
    "VipsForeignLoadWebpBuffer",
  ],
});

process.on("message", (job: ThumbnailJob) => {
  make(job).then(
    (result) => process.send?.(result),
    () => process.send?.({ problem: "undecodable" } satisfies ThumbnailResult),
  );
});
process.on("disconnect", () => process.exit(0));

async function make({ bytes, kind, request, maxPixels }: ThumbnailJob): Promise<ThumbnailResult> {
  const metadata = await sharp(bytes, { limitInputPixels: false }).metadata();
  const image: ImageFacts = {
    kind,
    width: metadata.autoOrient.width,
    height: metadata.autoOrient.height,
    pages: metadata.pages ?? 1,
  };
  if (image.width * image.height > maxPixels) return { problem: "too-large" };
  const choice = chooseThumbnail(image, request, maxPixels);
  if (choice.isOriginal) return { image, thumbnail: undefined };
  const { width, height, method, animated } = choice;
  const pipeline = sharp(bytes, {
    limitInputPixels: maxPixels,
    pages: animated ? -1 : 1,
    failOn: "truncated",
    sequentialRead: true,
    autoOrient: true,
  }).resize({ width, height, fit: method === "crop" ? "cover" : "fill" });
  const format = animated ? "webp" : metadata.hasAlpha || kind === "png" ? "png" : "jpeg";
  const made = await (
    format === "webp"
      ? pipeline.webp({ quality: JPEG_QUALITY, effort: 2 })
      : format === "png"
        ? pipeline.png()
        : pipeline.jpeg({ quality: JPEG_QUALITY })
  ).toBuffer();
  const thumbnail = {
    bytes: made,
    contentType: `image/${format}`,
    width,
    height,
    method,
    animated,
  };
  return { image, thumbnail };
}
