/** What an image file is, by its first bytes: only these kinds ever reach a decoder. */

export type ImageKind = "jpeg" | "png" | "apng" | "gif" | "webp";

const PNG = Buffer.from("89504e470d0a1a0a", "hex");
const CHUNK_HEAD = 8;
/** The length, type and checksum that surround a chunk's data. */
const CHUNK_FRAME = 12;

/** @returns undefined where it is none that thumbnails are made of */
export function imageKind(bytes: Buffer): ImageKind | undefined {
  if (bytes.length < 12) return undefined;
  if (bytes.subarray(0, 8).equals(PNG)) return isAnimatedPng(bytes) ? "apng" : "png";
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return "jpeg";
  const magic = bytes.toString("latin1", 0, 12);
  if (/^GIF8[79]a/.test(magic)) return "gif";
  if (magic.startsWith("RIFF") && magic.endsWith("WEBP")) return "webp";
  return undefined;
}

/** The chunk that makes a PNG an animation stands before its image data. */
function isAnimatedPng(bytes: Buffer): boolean {
  for (let at = PNG.length; at + CHUNK_HEAD <= bytes.length;) {
    const type = bytes.toString("latin1", at + 4, at + 8);
    if (type === "acTL") return true;
    if (type === "IDAT") return false;
    at += bytes.readUInt32BE(at) + CHUNK_FRAME;
  }
  return false;
}

/** The media type of a kind. */
export function typeOfKind(kind: ImageKind): string {
  return `image/${kind}`;
}
