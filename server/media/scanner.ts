/** What looks into files before anybody may have them. */
import type { Readable } from "node:stream";

export interface Scanner {
  /**
   * @param content is read to its end or destroyed
   * @throws Error where it cannot say; the file is then refused for now
   */
  scan(
    content: Readable,
    about: { contentType: string; fileName: string | undefined; sizeBytes: number },
  ): Promise<"clean" | "infected">;
}
