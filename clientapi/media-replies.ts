/** Answers with files: whole, in part, or that the client has it already. */
import type { MediaFile } from "../server/media/media.ts";
import { Reply } from "../server/route.ts";
import type { ByteRange } from "../storage/blobs.ts";

/** Media never change; but they may be withdrawn. */
const MAX_AGE_SECONDS = 86_400;

/**
 * @param headers of the request
 * @param isPublic whether caches between us and the client may keep it
 */
export async function mediaReply(
  file: MediaFile,
  headers: Readonly<Record<string, string | undefined>>,
  isPublic: boolean,
): Promise<Reply> {
  const { sizeBytes, etag } = file;
  const caching = {
    etag,
    "cache-control": `${isPublic ? "public" : "private"}, max-age=${MAX_AGE_SECONDS}`,
    "accept-ranges": "bytes",
  };
  if (namesTag(headers["if-none-match"], etag)) {
    return new Reply(undefined, { status: 304, headers: caching });
  }
  const condition = headers["if-range"];
  const isCurrent = condition === undefined || condition.trim() === etag;
  const range = isCurrent ? readRange(headers["range"], sizeBytes) : undefined;
  if (range === "unsatisfiable") {
    return new Reply(Buffer.alloc(0), {
      status: 416,
      headers: { ...file.headers, ...caching, "content-range": `bytes */${sizeBytes}` },
    });
  }
  if (range === undefined) {
    return new Reply(await file.open(), {
      headers: { ...file.headers, ...caching, "content-length": String(sizeBytes) },
    });
  }
  const { start, end } = range;
  return new Reply(await file.open(range), {
    status: 206,
    headers: {
      ...file.headers,
      ...caching,
      "content-range": `bytes ${start}-${end}/${sizeBytes}`,
      "content-length": String(end - start + 1),
    },
  });
}

/** Whether `If-None-Match` names an entity tag; weak ones compare as well: RFC 9110, 13.1.2. */
function namesTag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  const tags = header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes("*") || tags.includes(etag);
}

/**
 * The part that `Range` asks for. Several parts at once, and what is not understood, are ignored, as
 * RFC 9110, 14.2 allows.
 */
function readRange(
  header: string | undefined,
  sizeBytes: number,
): ByteRange | "unsatisfiable" | undefined {
  const [, first, last] = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i.exec(header ?? "") ?? [];
  if (first === undefined || last === undefined || (first === "" && last === "")) return undefined;
  if (first === "") {
    const length = Math.min(Number(last), sizeBytes);
    return length === 0 ? "unsatisfiable" : { start: sizeBytes - length, end: sizeBytes - 1 };
  }
  const start = Number(first);
  const end = last === "" ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  if (last !== "" && Number(last) < start) return undefined;
  return start >= sizeBytes ? "unsatisfiable" : { start, end };
}
