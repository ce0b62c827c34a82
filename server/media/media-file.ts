/** A file as it is handed out. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { ByteRange } from "../../storage/blobs.ts";
import { contentHeaders } from "./content-headers.ts";
import type { Objects } from "./objects.ts";

export interface MediaFile {
  sizeBytes: number;
  /** The same for the same bytes, quotes included. */
  etag: string;
  /** `Content-Type`, `Content-Disposition`, and what makes them safe in browsers; lower-case names. */
  headers: Readonly<Record<string, string>>;
  /** @throws MatrixError where it cannot be read now */
  open(range?: ByteRange): Promise<Readable>;
}

export function storedFile(
  objects: Pick<Objects, "read">,
  row: { blob_key: string; size_bytes: number; sha256: Buffer },
  contentType: string,
  fileName: string | undefined,
): MediaFile {
  return {
    sizeBytes: row.size_bytes,
    etag: etagOf(row.sha256),
    headers: contentHeaders(contentType, fileName),
    open: (range) => objects.read(row.blob_key, range),
  };
}

export function fileInMemory(
  bytes: Uint8Array,
  contentType: string,
  fileName: string | undefined,
): MediaFile {
  return {
    sizeBytes: bytes.length,
    etag: etagOf(createHash("sha256").update(bytes).digest()),
    headers: contentHeaders(contentType, fileName),
    async open(range) {
      const { start, end } = range ?? { start: 0, end: bytes.length - 1 };
      return Readable.from([bytes.subarray(start, end + 1)]);
    },
  };
}

function etagOf(sha256: Buffer): string {
  return `"${sha256.toString("base64url")}"`;
}
