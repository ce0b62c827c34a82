/** What uploads and downloads go by. */
import type { MxcUri, ServerName } from "../../spec/identifiers.ts";
import type { MediaKey, PendingMedia } from "../../storage/media.ts";

export interface MediaSettings {
  /** Where new files are. */
  serverName: ServerName;
  maxUploadBytes: number;
  /** Largest image that thumbnails are made of. */
  maxImagePixels: number;
  /** Most files that one user may have created without uploading them. */
  maxPendingUploads: number;
  /** Time in ms for which a created file may wait for its upload. */
  unusedExpirationMs: number;
  /** Whether new files are only for users that are logged in, somewhere. */
  requiresAuthentication: boolean;
}

/** What names one file. */
export interface FileId {
  serverName: ServerName;
  mediaId: string;
}

/** Whether a file that was created has waited too long for its upload. */
export function isExpired({ expires_ts }: PendingMedia, now: number): boolean {
  return (expires_ts ?? 0) <= now;
}

export function keyOf({ serverName, mediaId }: FileId): MediaKey {
  return { server_name: serverName, media_id: mediaId };
}

export function mxcOf({ server_name, media_id }: MediaKey): MxcUri {
  return `mxc://${server_name}/${media_id}`;
}
