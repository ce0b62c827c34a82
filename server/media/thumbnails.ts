/** Thumbnails: https://spec.matrix.org/v1.19/client-server-api/#thumbnails */
import { Readable } from "node:stream";
import { MatrixError } from "../../spec/errors.ts";
import type { Database } from "../../storage/database.ts";
import * as storedMedia from "../../storage/media.ts";
import type { MediaImage, UploadedMedia } from "../../storage/media.ts";
import { type ImageKind, imageKind, typeOfKind } from "./image-kind.ts";
import { fileInMemory, type MediaFile, storedFile } from "./media-file.ts";
import type { Objects } from "./objects.ts";
import type { MadeThumbnail } from "./thumbnail-process.ts";
import { chooseThumbnail, type ImageFacts, type ThumbnailRequest } from "./thumbnail-size.ts";
import { type Thumbnailer, ThumbnailerBusy } from "./thumbnailer.ts";

/** Largest file that is decoded: a whole one is in memory. */
const MAX_SOURCE_BYTES = 64 * 1024 * 1024;
/** Most thumbnails that are kept of one file; further ones are made again each time. */
const MAX_KEPT = 24;

export interface ThumbnailsDeps {
  database: Pick<Database, "db">;
  objects: Objects;
  thumbnailer: Thumbnailer;
  maxPixels: number;
  onError(error: unknown): void;
}

/** A thumbnail that was made just now; undefined where the file itself is what was asked for. */
interface Made {
  kind: ImageKind;
  thumbnail: MadeThumbnail | undefined;
}

export class Thumbnails {
  readonly #database: Pick<Database, "db">;
  readonly #objects: Objects;
  readonly #thumbnailer: Thumbnailer;
  readonly #maxPixels: number;
  readonly #onError: (error: unknown) => void;
  /** What is being made, so that the same is not made twice at a time. */
  readonly #making = new Map<string, Promise<Made>>();

  constructor(deps: ThumbnailsDeps) {
    this.#database = deps.database;
    this.#objects = deps.objects;
    this.#thumbnailer = deps.thumbnailer;
    this.#maxPixels = deps.maxPixels;
    this.#onError = deps.onError;
  }

  /** @throws MatrixError M_UNKNOWN where there can be none of this file, M_TOO_LARGE, M_LIMIT_EXCEEDED */
  async get(row: UploadedMedia, request: ThumbnailRequest): Promise<MediaFile> {
    if (row.image_kind === "") throw notAnImage();
    const image = factsOf(row);
    const found = image && (await this.#findKept(row, image, request));
    if (found !== undefined) return found;
    const { kind, thumbnail } = await this.#makeOnce(row, request);
    if (thumbnail === undefined) return original(this.#objects, row, kind);
    const { bytes, contentType } = thumbnail;
    return fileInMemory(bytes, contentType, nameFor(contentType));
  }

  async #findKept(
    row: UploadedMedia,
    image: ImageFacts,
    request: ThumbnailRequest,
  ): Promise<MediaFile | undefined> {
    const choice = chooseThumbnail(image, request, this.#maxPixels);
    if (choice.isOriginal) return original(this.#objects, row, image.kind);
    const { width, height, method, animated } = choice;
    const kept = await storedMedia.findThumbnail(this.#database.db, {
      ...keyOf(row),
      width,
      height,
      method,
      is_animated: animated,
    });
    return kept && storedFile(this.#objects, kept, kept.content_type, nameFor(kept.content_type));
  }

  async #makeOnce(row: UploadedMedia, request: ThumbnailRequest): Promise<Made> {
    const { width, height, method, animated } = request;
    const key = [row.server_name, row.media_id, width, height, method, animated].join(" ");
    const making = this.#making.get(key);
    if (making !== undefined) return making;
    const made = this.#make(row, request).finally(() => this.#making.delete(key));
    this.#making.set(key, made);
    return made;
  }

  async #make(row: UploadedMedia, request: ThumbnailRequest): Promise<Made> {
    if (row.size_bytes > MAX_SOURCE_BYTES) throw tooLarge(row);
    const result = await this.#thumbnailer
      .make({ load: () => this.#load(row), request, maxPixels: this.#maxPixels })
      .catch(refuseWhenBusy);
    if ("problem" in result) {
      if (result.problem === "too-large") throw tooLarge(row);
      if (result.problem === "undecodable") await this.#putImage(row, undefined);
      throw notAnImage();
    }
    if (row.image_kind === null) await this.#putImage(row, result.image);
    if (result.thumbnail !== undefined) await this.#keep(row, result.thumbnail);
    return { kind: result.image.kind, thumbnail: result.thumbnail };
  }

  async #load(row: UploadedMedia): Promise<{ bytes: Buffer; kind: ImageKind } | undefined> {
    const source = await this.#objects.read(row.blob_key);
    const bytes = Buffer.concat((await source.toArray()) as Buffer[]);
    const kind = imageKind(bytes);
    return kind && { bytes, kind };
  }

  /** A thumbnail that cannot be kept is made again the next time. */
  async #keep(row: UploadedMedia, made: MadeThumbnail): Promise<void> {
    const { width, height, method, animated, contentType } = made;
    try {
      await this.#objects.write(Readable.from([made.bytes]), async (tx, written) => {
        const isKept = await storedMedia.addThumbnail(
          tx,
          {
            ...keyOf(row),
            ...written,
            width,
            height,
            method,
            is_animated: animated,
            content_type: contentType,
          },
          MAX_KEPT,
        );
        if (!isKept) throw new NotKept();
      });
    } catch (error) {
      if (!(error instanceof NotKept)) this.#onError(error);
    }
  }

  async #putImage(row: UploadedMedia, image: ImageFacts | undefined): Promise<void> {
    const facts: MediaImage = {
      image_kind: image?.kind ?? "",
      image_width: image?.width ?? null,
      image_height: image?.height ?? null,
      image_pages: image?.pages ?? null,
    };
    await this.#database.db
      .transaction()
      .execute((tx) => storedMedia.putImage(tx, keyOf(row), facts));
  }
}

/** There are enough of this file, or it is there already, or the file is gone. */
class NotKept extends Error {
  override readonly name = "NotKept";
}

/** The file itself under the type that its bytes show, whatever its uploader said. */
function original(objects: Objects, row: UploadedMedia, kind: ImageKind): MediaFile {
  const type = typeOfKind(kind);
  return storedFile(objects, row, type, nameFor(type));
}

function factsOf(row: UploadedMedia): ImageFacts | undefined {
  const { image_kind: kind, image_width: width, image_height: height, image_pages: pages } = row;
  if (kind === null || width === null || height === null || pages === null) return undefined;
  // Written by #putImage only.
  return { kind: kind as ImageKind, width, height, pages };
}

function keyOf({ server_name, media_id }: UploadedMedia): storedMedia.MediaKey {
  return { server_name, media_id };
}

function nameFor(contentType: string): string {
  return `thumbnail.${contentType.slice("image/".length).replace("apng", "png")}`;
}

function refuseWhenBusy(error: unknown): never {
  if (!(error instanceof ThumbnailerBusy)) throw error;
  const fields = { retry_after_ms: 2000 };
  throw new MatrixError("M_LIMIT_EXCEEDED", "Too many thumbnails are being made", { fields });
}

function notAnImage(): MatrixError {
  const message = "Cannot generate thumbnails for the requested content";
  return new MatrixError("M_UNKNOWN", message, { status: 400 });
}

function tooLarge(row: UploadedMedia): MatrixError {
  return new MatrixError("M_TOO_LARGE", "Content is too large to thumbnail", {
    status: row.user_id === null ? 502 : 413,
  });
}
