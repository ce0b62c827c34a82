/** A user's device that runs matrix-js-sdk with its Rust crypto, all in memory. */
import assert from "node:assert/strict";
import {
  createClient,
  EventType,
  type MatrixClient,
  type MatrixEvent,
  MsgType,
  Preset,
  type Room,
} from "matrix-js-sdk";
import type { CryptoApi } from "matrix-js-sdk/lib/crypto-api/index.js";
import type { TestServer } from "../fixtures/homeserver.ts";
import type { TestUser } from "../fixtures/test-user.ts";
import { releaseLongTimers, silenceConsole } from "./surroundings.ts";
import { until } from "./until.ts";

silenceConsole();
releaseLongTimers();

export class Device implements AsyncDisposable {
  readonly client: MatrixClient;
  readonly user: TestUser;
  /** The key of secret storage: made by this device, or typed in by its user. */
  secretStorageKey: Uint8Array | undefined;

  readonly #network = new AbortController();

  constructor(server: TestServer, user: TestUser) {
    this.user = user;
    this.client = createClient({
      baseUrl: server.baseUrl,
      userId: user.userId,
      deviceId: user.deviceId,
      accessToken: user.accessToken,
      fetchFn: (resource, init) => this.#fetch(resource, init),
      cryptoCallbacks: {
        getSecretStorageKey: async ({ keys }) => {
          const [keyId] = Object.keys(keys);
          const key = this.secretStorageKey;
          return keyId === undefined || key === undefined ? null : [keyId, key];
        },
        cacheSecretStorageKey: (_keyId, _info, key) => {
          this.secretStorageKey = key;
        },
      },
    });
  }

  get userId(): string {
    return this.user.userId;
  }

  get deviceId(): string {
    return this.user.deviceId;
  }

  get crypto(): CryptoApi {
    const crypto = this.client.getCrypto();
    assert.ok(crypto !== undefined, "crypto runs");
    return crypto;
  }

  async start(): Promise<void> {
    await this.client.initRustCrypto({ useIndexedDB: false });
    await this.client.startClient({ initialSyncLimit: 20, threadSupport: true });
    await until(`${this.userId} has synced`, () => this.client.isInitialSyncComplete());
  }

  room(roomId: string): Room {
    const room = this.client.getRoom(roomId);
    assert.ok(room !== null, `${this.userId} knows ${roomId}`);
    return room;
  }

  /** Makes a room, encrypted from its first event on, whose invited users have all joined. */
  async createEncryptedRoom(others: Device[]): Promise<string> {
    const { room_id: roomId } = await this.client.createRoom({
      name: "by the sea",
      preset: Preset.PrivateChat,
      invite: others.map(({ userId }) => userId),
      initial_state: [
        {
          type: EventType.RoomEncryption,
          state_key: "",
          content: { algorithm: "m.megolm.v1.aes-sha2" },
        },
      ],
    });
    for (const other of others) await other.acceptInvite(roomId);
    await this.seesMembers(roomId, [this, ...others]);
    return roomId;
  }

  async acceptInvite(roomId: string): Promise<void> {
    await until(`${this.userId} is invited`, () => this.membership(roomId) === "invite");
    await this.client.joinRoom(roomId);
    await until(`${this.userId} is in the room`, () => this.membership(roomId) === "join");
  }

  /** Sees each of the users in a room, which it knows to be encrypted or not. */
  async seesMembers(roomId: string, devices: Device[]): Promise<void> {
    for (const { userId } of devices) {
      await until(`${this.userId} sees ${userId} join`, () => {
        return this.client.getRoom(roomId)?.getMember(userId)?.membership === "join";
      });
    }
  }

  membership(roomId: string): string | undefined {
    return this.client.getRoom(roomId)?.getMyMembership();
  }

  /** @returns the event's ID */
  async say(roomId: string, body: string): Promise<string> {
    const content = { msgtype: MsgType.Text as const, body };
    return (await this.client.sendMessage(roomId, content)).event_id;
  }

  /** Waits until an event is there, and decrypted if it came encrypted. */
  sees(roomId: string, eventId: string): Promise<MatrixEvent> {
    return until(`${this.userId} on ${this.deviceId} can read ${eventId}`, () => {
      const event = this.client.getRoom(roomId)?.findEventById(eventId);
      return event !== undefined && isReadable(event) && event;
    });
  }

  /** Waits until a message is there, and gives its text. */
  async reads(roomId: string, eventId: string): Promise<unknown> {
    return (await this.sees(roomId, eventId)).getContent()["body"];
  }

  /** Requests end with the device: the SDK would try for half a minute more to be answered. */
  #fetch(...[resource, init = {}]: Parameters<typeof fetch>): Promise<Response> {
    const signals = [this.#network.signal, init.signal ?? []].flat();
    return fetch(resource, { ...init, signal: AbortSignal.any(signals) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.stopClient();
    this.#network.abort();
  }
}

function isReadable(event: MatrixEvent): boolean {
  if (!event.isEncrypted()) return true;
  return event.getClearContent() !== null && !event.isDecryptionFailure();
}

/** Starts the SDK for a user who is logged in already. */
export async function startDevice(server: TestServer, user: TestUser): Promise<Device> {
  await using stack = new AsyncDisposableStack();
  const device = stack.use(new Device(server, user));
  await device.start();
  stack.move();
  return device;
}
