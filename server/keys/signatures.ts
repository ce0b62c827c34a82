/** Users sign keys: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload */
import { checkSignatures, keyText } from "../../spec/encryption-keys.ts";
import { MatrixError } from "../../spec/errors.ts";
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import * as crossSigning from "../../storage/cross-signing.ts";
import type { CrossSigningKeyRow, KeySignatureRow } from "../../storage/cross-signing.ts";
import type { Database, Db } from "../../storage/database.ts";
import * as deviceKeys from "../../storage/device-keys.ts";
import * as deviceLists from "../../storage/device-lists.ts";
import type { NewEntry, Stream } from "../stream/stream.ts";
import { deviceSigners, invalidSignature, parse } from "./cross-signing.ts";
import type { DeviceListData } from "./device-lists.ts";
import { askServers, type RemoteKeys, timeoutOf } from "./remote-keys.ts";

/** Signed keys by their owner and key ID, which is a device ID or a public key. */
export type SignedKeys = ReadonlyMap<UserId, ReadonlyMap<string, JsonObject>>;
export type SignatureFailures = Map<UserId, Map<string, MatrixError>>;

export interface SignatureDeps {
  database: Pick<Database, "db">;
  stream: Pick<Stream, "append">;
  isLocal(serverName: string): boolean;
  remote: RemoteKeys;
}

type Signature = Omit<KeySignatureRow, "position">;

/** Public keys that may sign something, by key identifier. */
type Signers = ReadonlyMap<string, string>;

/**
 * Publishes a user's signatures on keys; each is checked. What fails fails alone.
 *
 * A user may sign own devices with the self-signing key, the own master key with devices, and the
 * master keys of others with the user-signing key.
 */
export async function uploadSignatures(
  deps: SignatureDeps,
  signer: UserId,
  signed: SignedKeys,
): Promise<SignatureFailures> {
  const { db } = deps.database;
  const own = new Map(
    (await crossSigning.listKeys(db, [signer])).map((row) => [row.usage, row] as const),
  );
  const others = await masterKeys(
    deps,
    [...signed.keys()].filter((userId) => userId !== signer),
  );

  const failures: SignatureFailures = new Map();
  const signatures: Signature[] = [];
  for (const [userId, keys] of signed) {
    for (const [keyId, key] of keys) {
      try {
        const [stored, signers] =
          userId === signer
            ? await ownKey(db, signer, keyId, key, own)
            : [keyOf(others.get(userId), keyId), signersOf(own.get("user_signing"))];
        signatures.push(...(await goodSignatures(stored, signers, { signer, userId, keyId, key })));
      } catch (error) {
        if (!(error instanceof MatrixError)) throw error;
        const failed = failures.get(userId) ?? new Map<string, MatrixError>();
        failures.set(userId, failed.set(keyId, error));
      }
    }
  }
  const news = await withoutKnown(db, signer, signatures);
  if (news.length > 0) await put(deps, signer, news);
  return failures;
}

/** A key of the signer, and which keys of the signer may sign it. */
async function ownKey(
  db: Db,
  signer: UserId,
  keyId: string,
  key: JsonObject,
  own: ReadonlyMap<string, CrossSigningKeyRow>,
): Promise<[JsonObject | undefined, Signers]> {
  const { signatures } = key;
  const names = isObject(signatures) ? signatures[signer] : undefined;
  const master = own.get("master");
  if (master?.public_key === keyId) {
    return [
      parse(master),
      await deviceSigners(db, signer, isObject(names) ? Object.keys(names) : []),
    ];
  }
  for (const usage of ["self_signing", "user_signing"]) {
    const row = own.get(usage);
    if (row?.public_key === keyId) return [parse(row), signersOf(master)];
  }
  const json = keyId.includes("\0") ? undefined : await deviceKeys.find(db, signer, keyId);
  return [json === undefined ? undefined : parse({ json }), signersOf(own.get("self_signing"))];
}

async function goodSignatures(
  stored: JsonObject | undefined,
  signers: Signers,
  upload: { signer: UserId; userId: UserId; keyId: string; key: JsonObject },
): Promise<Signature[]> {
  const { signer, userId, keyId, key } = upload;
  if (stored === undefined) throw new MatrixError("M_NOT_FOUND", "The key is not known");
  if (keyText(key) !== keyText(stored)) {
    throw new MatrixError("M_INVALID_PARAM", "The key is not as it was published");
  }
  const { good, isAnyBad } = checkSignatures(key, signer, signers);
  if (isAnyBad) throw invalidSignature("The signature is not good");
  if (good.length === 0)
    throw invalidSignature("There is no signature by a key that may sign this");
  return good.map(({ keyId: signerKeyId, signature }) => ({
    user_id: userId,
    key_id: keyId,
    signer_user_id: signer,
    signer_key_id: signerKeyId,
    signature,
  }));
}

/** The master keys of users, of whatever server. */
async function masterKeys(
  deps: SignatureDeps,
  userIds: readonly UserId[],
): Promise<Map<UserId, JsonObject>> {
  const isLocal = (userId: UserId): boolean => deps.isLocal(serverNameOf(userId));
  const remote = new Map(userIds.filter((id) => !isLocal(id)).map((id) => [id, [] as string[]]));
  const [rows, answers] = await Promise.all([
    crossSigning.listKeys(deps.database.db, userIds.filter(isLocal)),
    askServers(
      remote,
      (server, users) => deps.remote.query(server, users, timeoutOf(undefined)),
      new Map(),
    ),
  ]);
  const found = new Map<UserId, JsonObject>();
  for (const row of rows) if (row.usage === "master") found.set(row.user_id, parse(row));
  for (const { answer, users } of answers) {
    for (const userId of users.keys()) {
      const key = answer.masterKeys.get(userId);
      if (key !== undefined) found.set(userId, key);
    }
  }
  return found;
}

/** A master key where its public part is the one that was named. */
function keyOf(master: JsonObject | undefined, keyId: string): JsonObject | undefined {
  const keys = master?.["keys"];
  return isObject(keys) && keys[`ed25519:${keyId}`] === keyId ? master : undefined;
}

function signersOf(row: CrossSigningKeyRow | undefined): Signers {
  return new Map(row === undefined ? [] : [[`ed25519:${row.public_key}`, row.public_key]]);
}

/** Signatures that are stored already are no news to anybody. */
async function withoutKnown(
  db: Db,
  signer: UserId,
  signatures: readonly Signature[],
): Promise<Signature[]> {
  const userIds = [...new Set(signatures.map((signature) => signature.user_id))];
  const known = new Set(
    (await crossSigning.listSignatures(db, userIds, signer))
      .filter((row) => row.signer_user_id === signer)
      .map(textOf),
  );
  return signatures.filter((signature) => !known.has(textOf(signature)));
}

function textOf(row: Signature): string {
  return JSON.stringify([row.user_id, row.key_id, row.signer_key_id, row.signature]);
}

/** Everybody hears of a user's signatures on own keys; of those on others' keys only the user does. */
async function put(deps: SignatureDeps, signer: UserId, news: readonly Signature[]): Promise<void> {
  const others = [...new Set(news.map((row) => row.user_id))].filter((id) => id !== signer);
  const hasOwn = news.some((row) => row.user_id === signer);
  const entries: NewEntry[] = [];
  if (hasOwn) entries.push({ kind: "device_list", userId: signer });
  if (others.length > 0) {
    const data: DeviceListData = { signed: others };
    entries.push({ kind: "device_list", userId: signer, data: { ...data } });
  }
  await deps.stream.append({
    entries,
    write: async (tx, positions) => {
      const position = positions.at(-1) ?? 0;
      await crossSigning.putSignatures(
        tx,
        news.map((row) => ({ ...row, position })),
      );
      if (hasOwn) await deviceLists.noteChange(tx, signer, positions[0] ?? 0);
    },
  });
}
