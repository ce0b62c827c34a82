/** Media of other servers, as the engine needs them; federation fetches them. */
import type { Readable } from "node:stream";
import type { ServerName } from "../../spec/identifiers.ts";

export interface RemoteMedia {
  /**
   * Fetches a file from the server that has it.
   *
   * @param wanted.timeoutMs how long that server may wait for a file that is not uploaded yet
   * @param wanted.maxBytes more than this need not be fetched
   * @returns undefined where that server has no such file; `content` is read to its end or destroyed
   * @throws MatrixError as its client is to see it
   */
  fetch(wanted: {
    serverName: ServerName;
    mediaId: string;
    timeoutMs: number;
    maxBytes: number;
  }): Promise<RemoteFile | undefined>;
}

export interface RemoteFile {
  /** `Content-Type` and `Content-Disposition` as that server sent them. */
  contentType: string | undefined;
  contentDisposition: string | undefined;
  content: Readable;
}

/** Where there is no federation. */
export const noRemoteMedia: RemoteMedia = { fetch: () => Promise.resolve(undefined) };
