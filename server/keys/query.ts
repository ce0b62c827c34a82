/** Identity and cross-signing keys of users: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery */
import type { CrossSigningUsage } from "../../spec/encryption-keys.ts";
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import { addSignature } from "../../spec/signed-json.ts";
import { parseStored } from "../../spec/strict-json.ts";
import * as crossSigning from "../../storage/cross-signing.ts";
import type { KeySignatureRow } from "../../storage/cross-signing.ts";
import type { Database } from "../../storage/database.ts";
import * as deviceKeys from "../../storage/device-keys.ts";
import { askServers, type Failures, type QueriedKeys, type RemoteKeys } from "./remote-keys.ts";

export interface KeyQuery {
  /** Device IDs by user; none for all. */
  users: ReadonlyMap<UserId, readonly string[]>;
  timeoutMs: number;
}

export interface QueryAnswer extends QueriedKeys {
  failures: Failures;
  userSigningKeys: Map<UserId, JsonObject>;
}

export interface QueryDeps {
  database: Pick<Database, "db">;
  isLocal(serverName: string): boolean;
  remote: RemoteKeys;
}

/** @param viewer who asks, and so may see their own signatures and user-signing key */
export async function queryKeys(
  deps: QueryDeps,
  viewer: UserId,
  query: KeyQuery,
): Promise<QueryAnswer> {
  const local = new Map<UserId, readonly string[]>();
  const remote = new Map<UserId, readonly string[]>();
  for (const [userId, deviceIds] of query.users) {
    (deps.isLocal(serverNameOf(userId)) ? local : remote).set(userId, deviceIds);
  }
  const failures: Failures = new Map();
  const [own, answers, signatures] = await Promise.all([
    queryLocalKeys(deps.database, local, viewer),
    askServers(
      remote,
      (server, users) => deps.remote.query(server, users, query.timeoutMs),
      failures,
    ),
    crossSigning.listSignatures(deps.database.db, [...remote.keys()], viewer),
  ]);
  const on = (userId: UserId, key: JsonObject): KeySignatureRow[] =>
    signatures.filter((row) => row.user_id === userId && hasKey(key, `ed25519:${row.key_id}`));
  for (const { answer, users } of answers) {
    for (const userId of users.keys()) {
      for (const part of ["deviceKeys", "masterKeys", "selfSigningKeys"] as const) {
        const keys = answer[part].get(userId);
        if (keys === undefined) continue;
        own[part].set(
          userId,
          part === "masterKeys" ? withSignatures(keys, on(userId, keys)) : keys,
        );
      }
    }
  }
  return { ...own, failures };
}

/**
 * The keys of users of ours. Each user who was asked for is among the device keys, with no device where
 * there is none, so that a client knows that it knows all.
 *
 * @param viewer who asks; undefined for another server
 */
export async function queryLocalKeys(
  { db }: Pick<Database, "db">,
  users: ReadonlyMap<UserId, readonly string[]>,
  viewer: UserId | undefined,
): Promise<Omit<QueryAnswer, "failures">> {
  const userIds = [...users.keys()];
  const wholly = userIds.filter((userId) => users.get(userId)?.length === 0);
  const devices = [...users].flatMap(([userId, deviceIds]) =>
    [...new Set(deviceIds)].map((deviceId) => ({ userId, deviceId })),
  );
  const [all, some, crossSigningKeys, signatures] = await Promise.all([
    deviceKeys.listOf(db, wholly),
    deviceKeys.listDevices(db, devices),
    crossSigning.listKeys(db, userIds),
    crossSigning.listSignatures(db, userIds, viewer),
  ]);
  const on = new Map<string, KeySignatureRow[]>();
  for (const row of signatures) {
    const place = `${row.user_id} ${row.key_id}`;
    const there = on.get(place);
    if (there === undefined) on.set(place, [row]);
    else there.push(row);
  }

  const byUser = new Map(userIds.map((userId) => [userId, new Map<string, JsonObject>()]));
  for (const row of [...all, ...some]) {
    const keys = withSignatures(
      parseStored(row.json) as JsonObject,
      on.get(`${row.user_id} ${row.device_id}`) ?? [],
    );
    const unsigned = row.display_name === null ? {} : { device_display_name: row.display_name };
    byUser.get(row.user_id)?.set(row.device_id, { ...keys, unsigned });
  }
  const byUsage: Record<CrossSigningUsage, Map<UserId, JsonObject>> = {
    master: new Map(),
    self_signing: new Map(),
    user_signing: new Map(),
  };
  for (const row of crossSigningKeys) {
    if (row.usage === "user_signing" && row.user_id !== viewer) continue;
    const keys = withSignatures(
      parseStored(row.json) as JsonObject,
      on.get(`${row.user_id} ${row.public_key}`) ?? [],
    );
    byUsage[row.usage].set(row.user_id, keys);
  }
  return {
    deviceKeys: new Map(
      [...byUser].map(([userId, own]) => [userId, Object.fromEntries(own) as JsonObject]),
    ),
    masterKeys: byUsage.master,
    selfSigningKeys: byUsage.self_signing,
    userSigningKeys: byUsage.user_signing,
  };
}

function hasKey(key: JsonObject, keyId: string): boolean {
  return isObject(key["keys"]) && Object.hasOwn(key["keys"], keyId);
}

/** A key with the signatures that were made later. */
function withSignatures(key: JsonObject, rows: readonly KeySignatureRow[]): JsonObject {
  let signatures: unknown = key["signatures"];
  for (const row of rows) {
    signatures = addSignature(signatures, row.signer_user_id, row.signer_key_id, row.signature);
  }
  return isObject(signatures) ? { ...key, signatures } : key;
}
