/** Messages to a device: told until a later token acknowledges them, then removed. */
import { LRUCache } from "lru-cache";
import type { UserId } from "../../spec/identifiers.ts";
import type { Stream } from "../stream/stream.ts";
import type { ToDevice } from "./ports.ts";

/** https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging */
const MAX_MESSAGES = 100;
const DEVICES = 100_000;

interface Known {
  /** What is stored lies after this position; -1 where that is not known. */
  acknowledged: number;
  /** No message is newer than this position. */
  newest: number;
}

export class ToDeviceInbox implements Disposable {
  readonly #toDevice: ToDevice;
  readonly #stream: Pick<Stream, "position">;
  readonly #known = new LRUCache<string, Known>({ max: DEVICES });
  readonly #unsubscribe: () => void;

  constructor(toDevice: ToDevice, stream: Pick<Stream, "position" | "subscribe">) {
    this.#toDevice = toDevice;
    this.#stream = stream;
    this.#unsubscribe = stream.subscribe((entries) => {
      for (const { kind, userId, deviceId, position } of entries) {
        if (kind !== "to_device") continue;
        const known = this.#known.peek(`${userId}\0${deviceId}`);
        if (known !== undefined) known.newest = position;
      }
    });
  }

  /** Removes what a device has received; asks storage only where there may be something. */
  async acknowledge(userId: UserId, deviceId: string, position: number): Promise<void> {
    const key = `${userId}\0${deviceId}`;
    let known = this.#known.get(key);
    if (known === undefined) {
      known = { acknowledged: -1, newest: this.#stream.position };
      this.#known.set(key, known);
    }
    const { acknowledged, newest } = known;
    if (position <= acknowledged || (acknowledged >= 0 && newest <= acknowledged)) return;
    await this.#toDevice.removeUpTo(userId, deviceId, position);
    known.acknowledged = Math.max(known.acknowledged, position);
  }

  /**
   * The next messages to a device.
   *
   * @returns the messages as JSON; `leftAt` where there are more: the position up to which they were told
   */
  async list(
    userId: UserId,
    deviceId: string,
    range: { after: number; upTo: number },
  ): Promise<{ messages: string[]; leftAt: number | undefined }> {
    const limit = MAX_MESSAGES + 1;
    const found = await this.#toDevice.list(userId, deviceId, { ...range, limit });
    const messages = found.slice(0, MAX_MESSAGES);
    const isCut = found.length > MAX_MESSAGES;
    return {
      messages: messages.map(({ json }) => json),
      leftAt: isCut ? messages.at(-1)?.position : undefined,
    };
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }
}
