/** Devices of users of ours: https://spec.matrix.org/v1.19/client-server-api/#device-management */
import { MatrixError } from "../../spec/errors.ts";
import type { UserId } from "../../spec/identifiers.ts";
import * as accessTokens from "../../storage/access-tokens.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as devices from "../../storage/devices.ts";
import type { Device } from "../../storage/devices.ts";
import type { Stream } from "../stream/stream.ts";

/** What goes when a device goes: its keys, the messages that wait for it, its pushers. */
export interface DeviceDependent {
  /** @param position of the `device_list` entry that tells of it */
  removeDevices(
    tx: Tx,
    userId: UserId,
    deviceIds: readonly string[],
    position: number,
  ): Promise<void>;
}

/** What devices have to do with keys. */
export interface DeviceKeys {
  /** Whether a device ID is the public part of a cross-signing key of the user. */
  isCrossSigningKey(userId: UserId, deviceId: string): Promise<boolean>;
  /** Notes in the transaction that others should ask for a user's devices again. */
  noteChange(tx: Tx, userId: UserId, position: number): Promise<void>;
}

export interface DevicesOptions {
  database: Database;
  stream: Stream;
  dependents: readonly DeviceDependent[];
  keys: DeviceKeys;
}

export class Devices {
  readonly #options: DevicesOptions;

  constructor(options: DevicesOptions) {
    this.#options = options;
  }

  list(userId: UserId): Promise<Device[]> {
    return devices.list(this.#options.database.db, userId);
  }

  /** @throws MatrixError M_NOT_FOUND */
  async get(userId: UserId, deviceId: string): Promise<Device> {
    const device = await devices.find(this.#options.database.db, userId, deviceId);
    if (device === undefined) throw notFound();
    return device;
  }

  /** @throws MatrixError M_FORBIDDEN for a device ID that a login may not choose */
  async checkNewId(userId: UserId, deviceId: string): Promise<void> {
    if (await this.#options.keys.isCrossSigningKey(userId, deviceId)) {
      throw new MatrixError("M_FORBIDDEN", "The device ID is that of a cross-signing key");
    }
  }

  /** @throws MatrixError M_NOT_FOUND */
  async rename(userId: UserId, deviceId: string, displayName: string): Promise<void> {
    const device = await this.get(userId, deviceId);
    if (device.display_name === displayName) return;
    const { result: isThere } = await this.#options.stream.append({
      // The name is part of what others see of the device's keys.
      entries: [{ kind: "device_list", userId }],
      write: async (tx, [position = 0]) => {
        await this.#options.keys.noteChange(tx, userId, position);
        return devices.rename(tx, userId, deviceId, displayName);
      },
    });
    if (!isThere) throw notFound();
  }

  /**
   * Removes devices with their tokens; those that are not there are passed over.
   *
   * @param change is made in the same transaction
   */
  async remove(
    userId: UserId,
    which: readonly string[] | { allBut: string | undefined },
    change?: (tx: Tx) => Promise<void>,
  ): Promise<void> {
    await this.#options.stream.append({
      entries: [
        { kind: "session", userId },
        { kind: "device_list", userId },
      ],
      write: async (tx, [, position = 0]) => {
        await change?.(tx);
        const deviceIds =
          "allBut" in which ? await devices.listIds(tx, userId, which.allBut) : which;
        await this.#removeIn(tx, userId, deviceIds, position);
      },
    });
  }

  async #removeIn(
    tx: Tx,
    userId: UserId,
    deviceIds: readonly string[],
    position: number,
  ): Promise<void> {
    if (deviceIds.length === 0) return;
    await devices.remove(tx, userId, deviceIds);
    await accessTokens.removeOf(tx, userId, deviceIds);
    for (const dependent of this.#options.dependents) {
      await dependent.removeDevices(tx, userId, deviceIds, position);
    }
    await this.#options.keys.noteChange(tx, userId, position);
  }
}

function notFound(): MatrixError {
  return new MatrixError("M_NOT_FOUND", "Device not found");
}
