/** Takes the bytes of a file in and, once they are there and looked into, makes a row point at them. */
import type { Readable } from "node:stream";
import { MatrixError } from "../../spec/errors.ts";
import type { Tx } from "../../storage/database.ts";
import type { MediaContent } from "../../storage/media.ts";
import { readContentType } from "./content-headers.ts";
import type { Objects, WrittenObject } from "./objects.ts";
import type { Scanner } from "./scanner.ts";

export interface AboutFile {
  /** The header as it was sent. */
  contentType: string | undefined;
  fileName: string | undefined;
}

export class Intake {
  readonly #objects: Objects;
  readonly #scanner: Scanner | undefined;

  constructor(objects: Objects, scanner: Scanner | undefined) {
    this.#objects = objects;
    this.#scanner = scanner;
  }

  /**
   * @param publish writes the row; where it throws, nothing of the file stays
   * @throws MatrixError M_FORBIDDEN for what the scanner does not let in; the error of the source
   */
  async store(
    source: Readable,
    about: AboutFile,
    publish: (tx: Tx, content: MediaContent) => Promise<void>,
  ): Promise<void> {
    const { fileName } = about;
    const contentType = readContentType(about.contentType);
    const scanner = this.#scanner;
    await this.#objects.write(
      source,
      (tx, written) =>
        publish(tx, { ...written, content_type: contentType, file_name: fileName ?? null }),
      scanner && ((written) => this.#scan(scanner, written, { contentType, fileName })),
    );
  }

  async #scan(
    scanner: Scanner,
    written: WrittenObject,
    about: { contentType: string; fileName: string | undefined },
  ): Promise<void> {
    const content = await this.#objects.read(written.blob_key);
    const verdict = await scanner
      .scan(content, { ...about, sizeBytes: written.size_bytes })
      .catch((cause: unknown) => {
        throw new MatrixError("M_UNKNOWN", "The file cannot be checked now", {
          status: 503,
          cause,
        });
      })
      .finally(() => content.destroy());
    if (verdict === "infected") throw new MatrixError("M_FORBIDDEN", "Cannot store this content");
  }
}
