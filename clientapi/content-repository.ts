/** Content repository: https://spec.matrix.org/v1.19/client-server-api/#content-repository */
import type { Media } from "../server/media/media.ts";
import { type Route, route } from "../server/route.ts";
import { mediaId, serverName } from "../spec/identifiers.ts";
import {
  invalidParam,
  object,
  oneOf,
  optional,
  queryBoolean,
  queryInteger,
  refine,
  text,
  withDefault,
} from "../spec/shape.ts";
import { mediaReply } from "./media-replies.ts";

const MAX_FILE_NAME_BYTES = 1024;
/** Larger than any image that we decode. */
const MAX_SIDE = 2 ** 31 - 1;

const file = object({ serverName, mediaId });
const namedFile = object({
  serverName,
  mediaId,
  fileName: text({ maxBytes: MAX_FILE_NAME_BYTES }),
});
const fileName = refine(text({ maxBytes: MAX_FILE_NAME_BYTES }), (name, place) => {
  // PostgreSQL cannot hold it, and no file system has it in a name.
  if (name.includes("\0")) throw invalidParam(place, "holds U+0000");
  return name;
});
const uploadQuery = object({ filename: optional(fileName) });
const waiting = { timeout_ms: optional(queryInteger({ min: 0 })) };
/** Redirects are allowed by some clients; we never give one. */
const legacy = {
  ...waiting,
  allow_remote: optional(queryBoolean),
  allow_redirect: optional(queryBoolean),
};
const size = {
  width: queryInteger({ min: 1, max: MAX_SIDE }),
  height: queryInteger({ min: 1, max: MAX_SIDE }),
  method: withDefault(oneOf("crop", "scale"), "scale"),
  animated: withDefault(queryBoolean, false),
};

export function contentRepository(
  media: Pick<
    Media,
    "maxUploadBytes" | "create" | "upload" | "uploadTo" | "download" | "thumbnail"
  >,
): Route[] {
  return [...uploads(media), ...downloads(media), ...legacyDownloads(media)];
}

function uploads(media: Pick<Media, "maxUploadBytes" | "create" | "upload" | "uploadTo">): Route[] {
  const { maxUploadBytes } = media;
  return [
    route({
      method: "POST",
      path: "/_matrix/media/v3/upload",
      aliases: ["/_matrix/media/r0/upload", "/_matrix/media/v1/upload"],
      access: "user",
      query: uploadQuery,
      body: "stream",
      maxBodyBytes: maxUploadBytes,
      async handle(call) {
        const contentUri = await media.upload(call.caller, {
          contentType: call.headers["content-type"],
          fileName: call.query.filename,
          body: call.stream,
          signal: call.signal,
        });
        return { content_uri: contentUri };
      },
    }),
    route({
      method: "PUT",
      path: "/_matrix/media/v3/upload/:serverName/:mediaId",
      access: "user",
      params: file,
      query: uploadQuery,
      body: "stream",
      maxBodyBytes: maxUploadBytes,
      async handle(call) {
        await media.uploadTo(call.caller, call.params, {
          contentType: call.headers["content-type"],
          fileName: call.query.filename,
          body: call.stream,
          signal: call.signal,
        });
        return {};
      },
    }),
    route({
      method: "POST",
      path: "/_matrix/media/v1/create",
      access: "user",
      rateLimit: "rc_media_create",
      async handle({ caller }) {
        const { contentUri, unusedExpiresTs } = await media.create(caller);
        return { content_uri: contentUri, unused_expires_at: unusedExpiresTs };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v1/media/config",
      aliases: [
        "/_matrix/client/unstable/org.matrix.msc3916/media/config",
        "/_matrix/media/v3/config",
        "/_matrix/media/r0/config",
        "/_matrix/media/v1/config",
      ],
      access: "user",
      handle: async () => ({ "m.upload.size": maxUploadBytes }),
    }),
  ];
}

function downloads(media: Pick<Media, "download" | "thumbnail">): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/client/v1/media/download/:serverName/:mediaId",
      aliases: ["/_matrix/client/unstable/org.matrix.msc3916/media/download/:serverName/:mediaId"],
      access: "user",
      params: file,
      query: object(waiting),
      async handle({ params, query, headers, signal }) {
        const timeoutMs = query.timeout_ms;
        const found = await media.download({ ...params, timeoutMs, isAuthenticated: true, signal });
        return mediaReply(found, headers, false);
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v1/media/download/:serverName/:mediaId/:fileName",
      aliases: [
        "/_matrix/client/unstable/org.matrix.msc3916/media/download/:serverName/:mediaId/:fileName",
      ],
      access: "user",
      params: namedFile,
      query: object(waiting),
      async handle({ params, query, headers, signal }) {
        const timeoutMs = query.timeout_ms;
        const found = await media.download({ ...params, timeoutMs, isAuthenticated: true, signal });
        return mediaReply(found, headers, false);
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v1/media/thumbnail/:serverName/:mediaId",
      aliases: ["/_matrix/client/unstable/org.matrix.msc3916/media/thumbnail/:serverName/:mediaId"],
      access: "user",
      params: file,
      query: object({ ...size, ...waiting }),
      async handle({ params, query, headers, signal }) {
        const { timeout_ms: timeoutMs, ...asked } = query;
        const wanted = { ...params, ...asked, timeoutMs, isAuthenticated: true, signal };
        return mediaReply(await media.thumbnail(wanted), headers, false);
      },
    }),
  ];
}

/** Without a token: what came before unauthenticated access was frozen, and nothing from other servers. */
function legacyDownloads(media: Pick<Media, "download" | "thumbnail">): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/media/v3/download/:serverName/:mediaId",
      aliases: [
        "/_matrix/media/r0/download/:serverName/:mediaId",
        "/_matrix/media/v1/download/:serverName/:mediaId",
      ],
      access: "public",
      params: file,
      query: object(legacy),
      async handle({ params, query, headers, signal }) {
        const { timeout_ms: timeoutMs, allow_remote: allowRemote } = query;
        const wanted = { ...params, timeoutMs, allowRemote, isAuthenticated: false, signal };
        return mediaReply(await media.download(wanted), headers, true);
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/media/v3/download/:serverName/:mediaId/:fileName",
      aliases: [
        "/_matrix/media/r0/download/:serverName/:mediaId/:fileName",
        "/_matrix/media/v1/download/:serverName/:mediaId/:fileName",
      ],
      access: "public",
      params: namedFile,
      query: object(legacy),
      async handle({ params, query, headers, signal }) {
        const { timeout_ms: timeoutMs, allow_remote: allowRemote } = query;
        const wanted = { ...params, timeoutMs, allowRemote, isAuthenticated: false, signal };
        return mediaReply(await media.download(wanted), headers, true);
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/media/v3/thumbnail/:serverName/:mediaId",
      aliases: [
        "/_matrix/media/r0/thumbnail/:serverName/:mediaId",
        "/_matrix/media/v1/thumbnail/:serverName/:mediaId",
      ],
      access: "public",
      params: file,
      query: object({ ...size, ...legacy }),
      async handle({ params, query, headers, signal }) {
        const { timeout_ms: timeoutMs, allow_remote: allowRemote, ...asked } = query;
        const wanted = {
          ...params,
          ...asked,
          timeoutMs,
          allowRemote,
          isAuthenticated: false,
          signal,
        };
        return mediaReply(await media.thumbnail(wanted), headers, true);
      },
    }),
  ];
}
