/** What requests are about: a homeserver with users, a room, and makers of everything else. */
import sharp from "sharp";
import type { JsonObject } from "../../spec/shape.ts";
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import { passwordStage, withAuth } from "../fixtures/interactive-auth.ts";
import { textAt } from "../fixtures/json.ts";
import type { TestUser } from "../fixtures/test-user.ts";

export class World implements AsyncDisposable {
  readonly server: TestServer;
  /** Who acts where nobody else is named; the creator of the room. */
  readonly alice: TestUser;
  readonly bob: TestUser;
  /** In no room. */
  readonly carol: TestUser;
  readonly admin: TestUser;
  /** Of alice and bob. */
  readonly roomId: string;
  /** A message in the room. */
  readonly eventId: string;
  #count = 0;

  private constructor(server: TestServer, users: TestUser[], roomId: string, eventId: string) {
    const [alice, bob, carol, admin] = users;
    if (!alice || !bob || !carol || !admin) throw new Error("four users make a world");
    this.server = server;
    this.alice = alice;
    this.bob = bob;
    this.carol = carol;
    this.admin = admin;
    this.roomId = roomId;
    this.eventId = eventId;
  }

  static async open(): Promise<World> {
    await using stack = new AsyncDisposableStack();
    const server = stack.use(
      await startServer({
        config: {
          // The paths of before authentication are judged too.
          enable_authenticated_media: false,
          public_baseurl: "https://matrix.localhost/",
          support: {
            page: "https://localhost/help",
            contacts: [{ matrix_id: "@admin:localhost" }],
          },
        },
      }),
    );
    const alice = await server.register("alice");
    const bob = await server.register("bob");
    const carol = await server.register("carol");
    const admin = await server.registerAdmin("admin");
    const roomId = await alice.createRoom({ preset: "public_chat" });
    await bob.join(roomId);
    const eventId = await alice.send(roomId, "hello");
    stack.move();
    return new World(server, [alice, bob, carol, admin], roomId, eventId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }

  /** A word that nobody has used. */
  unique(prefix = "x"): string {
    this.#count += 1;
    return `${prefix}${this.#count}`;
  }

  /** A user who has nothing yet. */
  user(): Promise<TestUser> {
    return this.server.register(this.unique("user"));
  }

  /** A room of alice, with whom else is named. */
  async room(options: JsonObject = {}, others: TestUser[] = []): Promise<string> {
    const roomId = await this.alice.createRoom({ preset: "public_chat", ...options });
    for (const other of others) await other.join(roomId);
    return roomId;
  }

  /** Completes a body with the authentication of a user's password. */
  async authenticated(
    user: TestUser,
    method: string,
    path: string,
    body: JsonObject,
  ): Promise<JsonObject> {
    const headers = { authorization: `Bearer ${user.accessToken}` };
    return withAuth(this.server.http, { method, path, headers, body }, passwordStage(user));
  }

  /** A user with a key backup, with one session in it. */
  async backup(): Promise<{ user: TestUser; version: string; sessionId: string }> {
    const user = await this.user();
    const created = await user.call("POST", "/_matrix/client/v3/room_keys/version", BACKUP);
    const version = textAt(created, "version");
    const sessionId = "sZdxkeY";
    const room = encodeURIComponent(this.roomId);
    const path = `/_matrix/client/v3/room_keys/keys/${room}/${sessionId}?version=${version}`;
    await user.call("PUT", path, BACKED_UP_SESSION);
    return { user, version, sessionId };
  }

  /** An image that alice uploaded. */
  async image(): Promise<{ serverName: string; mediaId: string }> {
    const create = { width: 48, height: 48, channels: 3, background: "red" } as const;
    const bytes = await sharp({ create }).png().toBuffer();
    const path = "/_matrix/media/v3/upload?filename=red.png";
    const headers = { "content-type": "image/png" };
    const { body } = await this.alice.request("POST", path, bytes, headers);
    const [, , serverName = "", mediaId = ""] = textAt(body, "content_uri").split("/");
    return { serverName, mediaId };
  }
}

export const BACKUP = {
  algorithm: "m.megolm_backup.v1.curve25519-aes-sha2",
  auth_data: { public_key: "abcdefg", signatures: {} },
};

export const BACKED_UP_SESSION = {
  first_message_index: 1,
  forwarded_count: 0,
  is_verified: true,
  session_data: { ciphertext: "base64", ephemeral: "base64", mac: "base64" },
};
