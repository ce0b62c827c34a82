/**
 * Keys of devices and users, as far as a server keeps and gives them:
 * https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption
 */
import type { UserId } from "../../spec/identifiers.ts";
import * as crossSigning from "../../storage/cross-signing.ts";
import type { Database, Tx } from "../../storage/database.ts";
import * as deviceKeys from "../../storage/device-keys.ts";
import * as deviceLists from "../../storage/device-lists.ts";
import * as oneTimeKeys from "../../storage/one-time-keys.ts";
import type { Memberships } from "../memberships/memberships.ts";
import type { Stream } from "../stream/stream.ts";
import { claimKeys, type ClaimAnswer, type KeyClaim } from "./claim.ts";
import { type CrossSigningUpload, uploadCrossSigningKeys } from "./cross-signing.ts";
import { type DeviceListChanges, DeviceLists } from "./device-lists.ts";
import { countsOf, KeyCounts } from "./key-counts.ts";
import { type KeyQuery, queryKeys, type QueryAnswer } from "./query.ts";
import type { RemoteKeys } from "./remote-keys.ts";
import { type SignatureFailures, type SignedKeys, uploadSignatures } from "./signatures.ts";
import { type KeyUpload, uploadKeys } from "./upload.ts";

export { MAX_ONE_TIME_KEYS } from "./upload.ts";
export { noRemoteKeys, type QueriedKeys, type RemoteKeys, timeoutOf } from "./remote-keys.ts";

export interface KeysOptions {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append" | "subscribe" | "position">;
  memberships: Pick<Memberships, "load" | "find" | "sharing" | "shareRoom">;
  isLocal(serverName: string): boolean;
  remote: RemoteKeys;
  onError(error: unknown): void;
}

export class Keys implements Disposable {
  /** For `/sync`: https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync */
  readonly counts: KeyCounts;
  readonly deviceLists: DeviceLists;
  readonly #options: KeysOptions;

  constructor(options: KeysOptions) {
    this.#options = options;
    this.counts = new KeyCounts(options.database, options.stream);
    this.deviceLists = new DeviceLists(options);
  }

  [Symbol.dispose](): void {
    this.counts[Symbol.dispose]();
    this.deviceLists[Symbol.dispose]();
  }

  /** @returns how many one-time keys the device has in stock, by algorithm */
  async upload(
    caller: { userId: UserId; deviceId?: string | undefined },
    upload: KeyUpload,
  ): Promise<Record<string, number>> {
    return countsOf(await uploadKeys(this.#options, caller, upload));
  }

  query(viewer: UserId, query: KeyQuery): Promise<QueryAnswer> {
    return queryKeys(this.#options, viewer, query);
  }

  claim(claim: KeyClaim): Promise<ClaimAnswer> {
    return claimKeys(this.#options, claim);
  }

  /** Whose keys changed for a user since a stream position, and with whom no room is shared any more. */
  changes(userId: UserId, after: number): Promise<DeviceListChanges> {
    return this.deviceLists.changes(userId, { after, upTo: this.#options.stream.position });
  }

  /** @param authorise asks the user to prove who they are; called where that is needed */
  uploadCrossSigningKeys(
    userId: UserId,
    upload: CrossSigningUpload,
    authorise: () => Promise<void>,
  ): Promise<void> {
    return uploadCrossSigningKeys(this.#options, userId, upload, authorise);
  }

  /** @returns the signatures that were refused, with why */
  uploadSignatures(userId: UserId, signed: SignedKeys): Promise<SignatureFailures> {
    return uploadSignatures(this.#options, userId, signed);
  }

  /** Whether a device ID is the public part of a cross-signing key of a user, and so must not be used. */
  isCrossSigningKey(userId: UserId, deviceId: string): Promise<boolean> {
    return crossSigning.isPublicKey(this.#options.database.db, userId, deviceId);
  }

  /**
   * Notes, for clients that were away for long, that a user's devices changed.
   *
   * @param position of the `device_list` entry that tells the others
   */
  noteChange(tx: Tx, userId: UserId, position: number): Promise<void> {
    return deviceLists.noteChange(tx, userId, position);
  }

  /** Removes all keys of devices that are removed in the same transaction, with what they signed. */
  async removeDevices(tx: Tx, userId: UserId, deviceIds: readonly string[]): Promise<void> {
    if (deviceIds.length === 0) return;
    await deviceKeys.remove(tx, userId, deviceIds);
    await oneTimeKeys.removeOf(tx, userId, deviceIds);
    await crossSigning.removeSignaturesOn(tx, userId, deviceIds);
    await crossSigning.removeSignaturesBy(
      tx,
      userId,
      deviceIds.map((deviceId) => `ed25519:${deviceId}`),
    );
  }
}
