/** One-time keys are given out: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim */
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import type { JsonObject } from "../../spec/shape.ts";
import { parseStored } from "../../spec/strict-json.ts";
import type { Database } from "../../storage/database.ts";
import * as oneTimeKeys from "../../storage/one-time-keys.ts";
import type { ClaimedKey, Supply, WantedKey } from "../../storage/one-time-keys.ts";
import type { Stream } from "../stream/stream.ts";
import { askServers, type Failures, type RemoteKeys } from "./remote-keys.ts";

export interface KeyClaim {
  /** The wanted algorithm by user and device. */
  devices: ReadonlyMap<UserId, ReadonlyMap<string, string>>;
  timeoutMs: number;
}

export interface ClaimAnswer {
  failures: Failures;
  /** By user, an object of devices, each with its key by `<algorithm>:<key_id>`. */
  oneTimeKeys: Map<UserId, JsonObject>;
}

export interface ClaimDeps {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append">;
  isLocal(serverName: string): boolean;
  remote: RemoteKeys;
}

export async function claimKeys(deps: ClaimDeps, claim: KeyClaim): Promise<ClaimAnswer> {
  const remote = new Map<UserId, ReadonlyMap<string, string>>();
  const wanted: WantedKey[] = [];
  for (const [userId, devices] of claim.devices) {
    if (!deps.isLocal(serverNameOf(userId))) remote.set(userId, devices);
    else for (const [deviceId, algorithm] of devices) wanted.push({ userId, deviceId, algorithm });
  }
  const failures: Failures = new Map();
  const [own, answers] = await Promise.all([
    claimLocalKeys(deps, wanted),
    askServers(
      remote,
      (server, users) => deps.remote.claim(server, users, claim.timeoutMs),
      failures,
    ),
  ]);
  for (const { answer, users } of answers) {
    for (const userId of users.keys()) {
      const keys = answer.get(userId);
      if (keys !== undefined) own.set(userId, keys);
    }
  }
  return { failures, oneTimeKeys: own };
}

/**
 * Gives out keys of devices of ours: the oldest one-time key, for good, or else the fallback key.
 * It has left the stock, on disk, before anybody is told of it.
 */
async function claimLocalKeys(
  { database, stream }: Pick<ClaimDeps, "database" | "stream">,
  wanted: readonly WantedKey[],
): Promise<Map<UserId, JsonObject>> {
  if (wanted.length === 0) return new Map();
  const supplies = await oneTimeKeys.listSupplies(database.db, wanted);
  const changing = supplies.filter((s) => s.has_one_time_key || s.is_fallback_used === false);
  // What was used before changes nothing.
  const keys = supplies.filter((s) => !changing.includes(s)).flatMap(fallbackOf);
  if (changing.length > 0) {
    const targets = changing.map(wantedKey);
    const { result } = await stream.append({
      entries: targets.map(({ userId, deviceId }) => ({ kind: "one_time_keys", userId, deviceId })),
      write: async (tx, positions) => {
        const claimed = await oneTimeKeys.claim(tx, targets, positions[0] ?? 0);
        const served = new Set(claimed.map(placeOf));
        const rest = changing.filter((s) => !served.has(placeOf(s))).map(wantedKey);
        return [...claimed, ...(await oneTimeKeys.claimFallbacks(tx, rest))];
      },
    });
    keys.push(...result);
  }
  const byUser = new Map<UserId, Map<string, JsonObject>>();
  for (const { user_id, device_id, algorithm, key_id, json } of keys) {
    let devices = byUser.get(user_id);
    if (devices === undefined) byUser.set(user_id, (devices = new Map()));
    devices.set(device_id, { [`${algorithm}:${key_id}`]: parseStored(json) });
  }
  return new Map([...byUser].map(([userId, own]) => [userId, Object.fromEntries(own)]));
}

function fallbackOf(supply: Supply): ClaimedKey[] {
  const { user_id, device_id, algorithm, fallback_key_id, fallback_json } = supply;
  if (fallback_key_id === null || fallback_json === null) return [];
  return [{ user_id, device_id, algorithm, key_id: fallback_key_id, json: fallback_json }];
}

function wantedKey({ user_id, device_id, algorithm }: Supply): WantedKey {
  return { userId: user_id, deviceId: device_id, algorithm };
}

function placeOf(key: { user_id: UserId; device_id: string; algorithm: string }): string {
  return `${key.user_id} ${key.device_id}`;
}
