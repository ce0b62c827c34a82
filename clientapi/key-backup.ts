/** Server-side key backups: https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups */
import { Readable } from "node:stream";
import { refuseGuest } from "../server/accounts/accounts.ts";
import type { BackedUpKey, KeyBackups, KeyData } from "../server/key-backup/key-backup.ts";
import { Reply, type Route, route } from "../server/route.ts";
import { type RoomId, roomId } from "../spec/identifiers.ts";
import { plainText } from "../spec/plain-text.ts";
import {
  anyObject,
  boolean,
  integer,
  map,
  object,
  oneOf,
  optional,
  refine,
  string,
} from "../spec/shape.ts";

/** Clients upload keys by the hundred. */
const MAX_KEYS_BYTES = 10 * 1024 * 1024;

const algorithm = oneOf("m.megolm_backup.v1.curve25519-aes-sha2");
const publicKey = object({ public_key: string });
/** It is signed, so that it is kept as it was written. */
const authData = refine(anyObject, (value, place) => {
  publicKey.read(value, place);
  return value;
});

const keyData = object({
  first_message_index: integer({ min: 0 }),
  forwarded_count: integer({ min: 0 }),
  is_verified: boolean,
  session_data: anyObject,
});
const sessions = object({ sessions: map(plainText(), keyData) });
const rooms = object({ rooms: map(roomId, sessions) });

const versionParams = object({ version: string });
const roomParams = object({ roomId });
const sessionParams = object({ roomId, sessionId: plainText() });
const inVersion = object({ version: string });

export function keyBackup(backups: KeyBackups): Route[] {
  return [...versions(backups), ...allKeys(backups), ...keysOfRoom(backups), ...oneKey(backups)];
}

function versions(backups: KeyBackups): Route[] {
  return [
    route({
      method: "POST",
      path: "/_matrix/client/v3/room_keys/version",
      aliases: ["/_matrix/client/unstable/room_keys/version"],
      access: "user",
      body: object({ algorithm, auth_data: authData }),
      async handle({ caller, body }) {
        refuseGuest(caller);
        return { version: await backups.create(caller.userId, body.algorithm, body.auth_data) };
      },
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/room_keys/version",
      aliases: ["/_matrix/client/unstable/room_keys/version"],
      access: "user",
      handle: ({ caller }) => backups.get(caller.userId, undefined),
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/room_keys/version/:version",
      aliases: ["/_matrix/client/unstable/room_keys/version/:version"],
      access: "user",
      params: versionParams,
      handle: ({ caller, params }) => backups.get(caller.userId, params.version),
    }),
    route({
      method: "PUT",
      path: "/_matrix/client/v3/room_keys/version/:version",
      aliases: ["/_matrix/client/unstable/room_keys/version/:version"],
      access: "user",
      params: versionParams,
      body: object({ algorithm, auth_data: authData, version: optional(string) }),
      async handle({ caller, params: { version }, body }) {
        await backups.update(caller.userId, version, {
          algorithm: body.algorithm,
          authData: body.auth_data,
          version: body.version,
        });
        return {};
      },
    }),
    route({
      method: "DELETE",
      path: "/_matrix/client/v3/room_keys/version/:version",
      aliases: ["/_matrix/client/unstable/room_keys/version/:version"],
      access: "user",
      params: versionParams,
      async handle({ caller, params }) {
        await backups.remove(caller.userId, params.version);
        return {};
      },
    }),
  ];
}

function allKeys(backups: KeyBackups): Route[] {
  return [
    route({
      method: "PUT",
      path: "/_matrix/client/v3/room_keys/keys",
      aliases: ["/_matrix/client/unstable/room_keys/keys"],
      access: "user",
      maxBodyBytes: MAX_KEYS_BYTES,
      query: inVersion,
      body: rooms,
      handle: ({ caller, query, body }) =>
        backups.putKeys(
          caller.userId,
          query.version,
          [...body.rooms].flatMap(([room, backup]) => keysOf(room, backup.sessions)),
        ),
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/room_keys/keys",
      aliases: ["/_matrix/client/unstable/room_keys/keys"],
      access: "user",
      query: inVersion,
      async handle({ caller, query }) {
        return streamJson(writeRooms(backups.listKeys(caller.userId, query.version, {})));
      },
    }),
    route({
      method: "DELETE",
      path: "/_matrix/client/v3/room_keys/keys",
      aliases: ["/_matrix/client/unstable/room_keys/keys"],
      access: "user",
      query: inVersion,
      handle: ({ caller, query }) => backups.removeKeys(caller.userId, query.version, {}),
    }),
  ];
}

function keysOfRoom(backups: KeyBackups): Route[] {
  return [
    route({
      method: "PUT",
      path: "/_matrix/client/v3/room_keys/keys/:roomId",
      aliases: ["/_matrix/client/unstable/room_keys/keys/:roomId"],
      access: "user",
      maxBodyBytes: MAX_KEYS_BYTES,
      params: roomParams,
      query: inVersion,
      body: sessions,
      handle: ({ caller, params, query, body }) =>
        backups.putKeys(caller.userId, query.version, keysOf(params.roomId, body.sessions)),
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/room_keys/keys/:roomId",
      aliases: ["/_matrix/client/unstable/room_keys/keys/:roomId"],
      access: "user",
      params: roomParams,
      query: inVersion,
      async handle({ caller, params, query }) {
        return streamJson(writeSessions(backups.listKeys(caller.userId, query.version, params)));
      },
    }),
    route({
      method: "DELETE",
      path: "/_matrix/client/v3/room_keys/keys/:roomId",
      aliases: ["/_matrix/client/unstable/room_keys/keys/:roomId"],
      access: "user",
      params: roomParams,
      query: inVersion,
      handle: ({ caller, params, query }) =>
        backups.removeKeys(caller.userId, query.version, params),
    }),
  ];
}

function oneKey(backups: KeyBackups): Route[] {
  return [
    route({
      method: "PUT",
      path: "/_matrix/client/v3/room_keys/keys/:roomId/:sessionId",
      aliases: ["/_matrix/client/unstable/room_keys/keys/:roomId/:sessionId"],
      access: "user",
      params: sessionParams,
      query: inVersion,
      body: keyData,
      handle: ({ caller, params, query, body }) =>
        backups.putKeys(caller.userId, query.version, [{ ...params, data: body }]),
    }),
    route({
      method: "GET",
      path: "/_matrix/client/v3/room_keys/keys/:roomId/:sessionId",
      aliases: ["/_matrix/client/unstable/room_keys/keys/:roomId/:sessionId"],
      access: "user",
      params: sessionParams,
      query: inVersion,
      handle: ({ caller, params, query }) => backups.getKey(caller.userId, query.version, params),
    }),
    route({
      method: "DELETE",
      path: "/_matrix/client/v3/room_keys/keys/:roomId/:sessionId",
      aliases: ["/_matrix/client/unstable/room_keys/keys/:roomId/:sessionId"],
      access: "user",
      params: sessionParams,
      query: inVersion,
      handle: ({ caller, params, query }) =>
        backups.removeKeys(caller.userId, query.version, params),
    }),
  ];
}

function keysOf(room: RoomId, all: ReadonlyMap<string, KeyData>): BackedUpKey[] {
  return [...all].map(([sessionId, data]) => ({ roomId: room, sessionId, data }));
}

/** Answers page by page: a backup may be larger than what should be held in memory. */
function streamJson(text: AsyncGenerator<string>): Reply {
  const body = Readable.from(text, { objectMode: false });
  return new Reply(body, { headers: { "content-type": "application/json" } });
}

async function* writeRooms(pages: AsyncIterable<BackedUpKey[]>): AsyncGenerator<string> {
  let room: RoomId | undefined;
  let text = '{"rooms":{';
  for await (const page of pages) {
    for (const key of page) {
      if (key.roomId === room) text += ",";
      else text += `${room === undefined ? "" : "}},"}${JSON.stringify(key.roomId)}:{"sessions":{`;
      room = key.roomId;
      text += writeSession(key);
    }
    yield text;
    text = "";
  }
  yield room === undefined ? "}}" : "}}}}";
}

async function* writeSessions(pages: AsyncIterable<BackedUpKey[]>): AsyncGenerator<string> {
  let text = '{"sessions":{';
  let separator = "";
  for await (const page of pages) {
    for (const key of page) {
      text += separator + writeSession(key);
      separator = ",";
    }
    yield text;
    text = "";
  }
  yield "}}";
}

function writeSession({ sessionId, data }: BackedUpKey): string {
  return `${JSON.stringify(sessionId)}:${JSON.stringify(data)}`;
}
