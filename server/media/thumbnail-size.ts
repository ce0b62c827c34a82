/** Which thumbnail answers a request: https://spec.matrix.org/v1.19/client-server-api/#thumbnails */
import type { ImageKind } from "./image-kind.ts";

export interface ThumbnailRequest {
  width: number;
  height: number;
  method: "crop" | "scale";
  animated: boolean;
}

/** An image as it is shown: turned upright, each page of this size. */
export interface ImageFacts {
  kind: ImageKind;
  width: number;
  height: number;
  pages: number;
}

export type ThumbnailChoice =
  /** The file itself: it is not larger than what was asked for. */
  | { isOriginal: true }
  | {
      isOriginal: false;
      width: number;
      height: number;
      method: "crop" | "scale";
      animated: boolean;
    };

/** Sizes that requests to scale are rounded up to, so that few thumbnails serve many. */
const SCALED: readonly (readonly [number, number])[] = [
  [320, 240],
  [640, 480],
  [800, 600],
  [1600, 1200],
];
/** Longer sides that requests to crop are rounded up to; the ratio of the sides stays. */
const CROPPED = [32, 96, 320, 640, 960, 1600];

/**
 * Chooses the thumbnail of an image, never smaller than asked for where the image allows that, and
 * never larger than the image.
 *
 * @param maxPixels of all pages of an animation together; a longer one is shown by its first page
 */
export function chooseThumbnail(
  image: ImageFacts,
  request: ThumbnailRequest,
  maxPixels: number,
): ThumbnailChoice {
  const isAnimation = image.pages > 1 || image.kind === "apng";
  // No decoder of ours reads the later pages of an APNG: it moves as a whole or not at all.
  const animated =
    request.animated && image.pages > 1 && image.width * image.height * image.pages <= maxPixels;
  const { width, height } =
    request.method === "crop" ? crop(image, request) : scale(image, request);
  const isWhole = width >= image.width && height >= image.height;
  if (isWhole && (!isAnimation || request.animated)) return { isOriginal: true };
  return { isOriginal: false, width, height, method: request.method, animated };
}

/** The ratio stays, and both sides are as long as asked for. */
function scale(image: ImageFacts, asked: ThumbnailRequest): { width: number; height: number } {
  const [width, height] = SCALED.find(([w, h]) => w >= asked.width && h >= asked.height) ?? [
    asked.width,
    asked.height,
  ];
  const factor = Math.min(1, Math.max(width / image.width, height / image.height));
  return { width: atLeastOne(image.width * factor), height: atLeastOne(image.height * factor) };
}

/** The ratio of what was asked for, cut out of an image that covers it. */
function crop(image: ImageFacts, asked: ThumbnailRequest): { width: number; height: number } {
  const isSmaller = image.width <= asked.width && image.height <= asked.height;
  if (isSmaller) return { width: image.width, height: image.height };
  const longer = Math.max(asked.width, asked.height);
  const rounded = CROPPED.find((side) => side >= longer) ?? longer;
  const factor = Math.min(rounded / longer, image.width / asked.width, image.height / asked.height);
  return { width: atLeastOne(asked.width * factor), height: atLeastOne(asked.height * factor) };
}

function atLeastOne(side: number): number {
  return Math.max(1, Math.round(side));
}
