/** Messages to devices: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging */
import { MatrixError } from "../../spec/errors.ts";
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as toDevice from "../../storage/to-device.ts";
import type { Queue, TransactionKey } from "../../storage/to-device.ts";
import { repeat } from "../repeating.ts";
import { ConflictError, type Stream } from "../stream/stream.ts";

/** Contents by user and device ID; `*` stands for all devices of the user. */
export type Messages = ReadonlyMap<UserId, ReadonlyMap<string, JsonObject>>;

export interface ToDeviceRequest {
  type: string;
  txnId: string;
  messages: Messages;
}

export interface ToDeviceOptions {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append">;
  isLocal(serverName: string): boolean;
  clock: () => number;
  onError(error: unknown): void;
}

/** Bytes of one message, as JSON. */
const MAX_MESSAGE_BYTES = 64 * 1024;
/** Bytes that may wait for one device. */
const MAX_QUEUE_BYTES = 50 * 1024 * 1024;
/** Devices that one request may reach. */
const MAX_DEVICES = 5000;
/** How long a transaction ID is known, in ms: clients may be offline for days before they try again. */
const TRANSACTION_LIFETIME_MS = 7 * 24 * 3_600_000;
const SWEEP_MS = 3_600_000;
/** When a sender may try again whose receiver has too much to fetch, in ms. */
const RETRY_AFTER_MS = 60_000;

interface Letter {
  userId: UserId;
  deviceId: string;
  json: string;
}

export class ToDevice implements AsyncDisposable {
  readonly #options: ToDeviceOptions;
  readonly #sweeping: AsyncDisposable;

  constructor(options: ToDeviceOptions) {
    this.#options = options;
    this.#sweeping = repeat(() => this.#sweep(), {
      firstMs: SWEEP_MS,
      everyMs: SWEEP_MS,
      onError: options.onError,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sweeping[Symbol.asyncDispose]();
  }

  /**
   * Sends messages to devices of ours, once for each transaction ID; to what is not there, none.
   *
   * A device that has too much waiting gets none, and its sender may try again. Where there are others
   * to reach it is passed over: one device that nobody switches on must not cut off the rest.
   *
   * @throws MatrixError M_TOO_LARGE for a message, M_LIMIT_EXCEEDED where nobody could take theirs
   */
  async send(
    sender: { userId: UserId; deviceId?: string | undefined },
    request: ToDeviceRequest,
  ): Promise<void> {
    const { database, stream, clock } = this.#options;
    const { type, txnId, messages } = request;
    const key: TransactionKey = {
      userId: sender.userId,
      deviceId: sender.deviceId ?? "",
      type,
      txnId,
    };
    const [isRepeated, queues] = await Promise.all([
      toDevice.hasTransaction(database.db, key),
      this.#queues(messages),
    ]);
    if (isRepeated) return;
    if (queues.length > MAX_DEVICES) {
      throw new MatrixError("M_TOO_LARGE", `more than ${MAX_DEVICES} devices are to be reached`);
    }
    const letters = this.#write(sender.userId, type, messages, queues);
    if (letters.length === 0) {
      await database.db.transaction().execute((tx) => toDevice.addTransaction(tx, key, clock()));
      return;
    }
    try {
      await stream.append({
        entries: letters.map(({ userId, deviceId }) => ({ kind: "to_device", userId, deviceId })),
        async write(tx, positions) {
          if (!(await toDevice.addTransaction(tx, key, clock()))) {
            throw new ConflictError("the same request came first");
          }
          await toDevice.add(
            tx,
            letters.map((letter, i) => ({ ...letter, position: positions[i] ?? 0 })),
          );
        },
      });
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      if (!(await toDevice.hasTransaction(database.db, key))) throw error;
    }
  }

  /** Messages with positions in `(after, upTo]`, oldest first, each a JSON object. */
  list(
    userId: UserId,
    deviceId: string,
    range: { after: number; upTo: number; limit: number },
  ): Promise<{ position: number; json: string }[]> {
    return toDevice.list(this.#options.database.db, userId, deviceId, range);
  }

  /** Removes what a device has received. */
  async removeUpTo(userId: UserId, deviceId: string, position: number): Promise<void> {
    await this.#options.database.db
      .transaction()
      .execute((tx) => toDevice.removeUpTo(tx, userId, deviceId, position));
  }

  /** Removes what waits for devices that are removed in the same transaction. */
  async removeDevices(tx: Tx, userId: UserId, deviceIds: readonly string[]): Promise<void> {
    if (deviceIds.length > 0) await toDevice.removeOf(tx, userId, deviceIds);
  }

  /** The devices that a request names, as far as they are there. Those of other servers are not. */
  async #queues(messages: Messages): Promise<Queue[]> {
    const { db } = this.#options.database;
    const wholly: UserId[] = [];
    const single: { userId: UserId; deviceId: string }[] = [];
    for (const [userId, devices] of messages) {
      if (!this.#options.isLocal(serverNameOf(userId))) continue;
      if (devices.has("*")) wholly.push(userId);
      else for (const deviceId of devices.keys()) single.push({ userId, deviceId });
    }
    const found = await Promise.all([
      toDevice.listQueuesOf(db, wholly),
      toDevice.listQueues(db, single),
    ]);
    return found.flat();
  }

  #write(sender: UserId, type: string, messages: Messages, queues: readonly Queue[]): Letter[] {
    const texts = new Map<JsonObject, string>();
    const write = (content: JsonObject): string => {
      let json = texts.get(content);
      if (json === undefined) {
        json = JSON.stringify({ type, sender, content });
        if (Buffer.byteLength(json) > MAX_MESSAGE_BYTES) {
          throw new MatrixError(
            "M_TOO_LARGE",
            `a message is larger than ${MAX_MESSAGE_BYTES} bytes`,
          );
        }
        texts.set(content, json);
      }
      return json;
    };
    // Also what goes nowhere, so that what is refused does not depend on who is there.
    for (const devices of messages.values()) for (const content of devices.values()) write(content);

    const letters: Letter[] = [];
    let hasFull = false;
    for (const { user_id: userId, device_id: deviceId, bytes } of queues) {
      const devices = messages.get(userId);
      const content = devices?.get(deviceId) ?? devices?.get("*");
      if (content === undefined) continue;
      const json = write(content);
      if (bytes + Buffer.byteLength(json) > MAX_QUEUE_BYTES) hasFull = true;
      else letters.push({ userId, deviceId, json });
    }
    if (hasFull && letters.length === 0) {
      throw new MatrixError("M_LIMIT_EXCEEDED", "Too many messages wait for the device", {
        fields: { retry_after_ms: RETRY_AFTER_MS },
      });
    }
    return letters;
  }

  async #sweep(): Promise<void> {
    const { database, clock } = this.#options;
    await database.db
      .transaction()
      .execute((tx) => toDevice.removeTransactionsBefore(tx, clock() - TRANSACTION_LIFETIME_MS));
  }
}
