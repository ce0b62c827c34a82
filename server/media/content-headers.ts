/** Headers of media, by which no browser takes a file for a page of ours. */

/** https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content */
const INLINE = new Set([
  "text/css",
  "text/plain",
  "text/csv",
  "application/json",
  "application/ld+json",
  "image/jpeg",
  "image/gif",
  "image/png",
  "image/apng",
  "image/webp",
  "image/avif",
  "video/mp4",
  "video/webm",
  "video/ogg",
  "video/quicktime",
  "audio/mp4",
  "audio/webm",
  "audio/aac",
  "audio/mpeg",
  "audio/ogg",
  "audio/wave",
  "audio/wav",
  "audio/x-wav",
  "audio/x-pn-wav",
  "audio/flac",
  "audio/x-flac",
]);

export const UNKNOWN_TYPE = "application/octet-stream";
const MAX_TYPE_CHARS = 255;

// A type, a subtype, and parameters whose values are tokens or quoted: RFC 9110, 8.3.1. The parts of
// the expression begin with different characters, so that it takes linear time.
const TYPE =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|"[ !#-[\]-~]*"))*$/;

/** What every answer with media bears: https://spec.matrix.org/v1.19/client-server-api/#content-repository */
const SAFETY = {
  "content-security-policy":
    "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';",
  "cross-origin-resource-policy": "cross-origin",
  "referrer-policy": "no-referrer",
  "x-robots-tag": "noindex",
};

/** A `Content-Type` as it may be answered later; what is no media type is of unknown type. */
export function readContentType(header: string | undefined): string {
  const isGood = header !== undefined && header.length <= MAX_TYPE_CHARS && TYPE.test(header);
  return isGood ? header : UNKNOWN_TYPE;
}

/**
 * @param contentType as `readContentType` gave it
 * @param fileName any text; undefined where the file has no name
 */
export function contentHeaders(
  contentType: string,
  fileName: string | undefined,
): Record<string, string> {
  const [essence = ""] = contentType.split(";");
  const isInline = INLINE.has(essence.trim().toLowerCase());
  return {
    ...SAFETY,
    "content-type": contentType,
    "content-disposition": `${isInline ? "inline" : "attachment"}${nameParameters(fileName)}`,
  };
}

/** RFC 6266: a name of plain ASCII as it is; any other encoded, after one for those who cannot read that. */
function nameParameters(fileName: string | undefined): string {
  if (fileName === undefined || fileName === "") return "";
  if (/^[\x20-\x7e]*$/.test(fileName) && !/["\\%]/.test(fileName)) {
    return `; filename="${fileName}"`;
  }
  const plain = fileName.replaceAll(/[^\x20-\x7e]|["\\%]/gu, "_");
  return `; filename="${plain}"; filename*=utf-8''${encodeAll(fileName)}`;
}

/** Percent-encodes what RFC 8187 does not let stand for itself. */
function encodeAll(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replaceAll(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** The file name of a `Content-Disposition` that another server sent. */
export function fileNameOf(disposition: string | undefined): string | undefined {
  if (disposition === undefined) return undefined;
  const extended = /;\s*filename\*\s*=\s*utf-8''([^;\s]+)/i.exec(disposition)?.[1];
  if (extended !== undefined) {
    try {
      return decodeURIComponent(extended);
    } catch {
      // Not percent-encoded UTF-8: the plain name, if there is one.
    }
  }
  const [, quoted, token] =
    /;\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))/i.exec(disposition) ?? [];
  return quoted?.replaceAll(/\\(.)/g, "$1") ?? token;
}
