/** Users sign keys: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload */
import { checkSignatures, type CrossSigningUsage, keyText } from "../../spec/encryption-keys.ts";
import { MatrixError } from "../../spec/errors.ts";
import { serverNameOf, type UserId } from "../../spec/identifiers.ts";
import { isObject, type JsonObject } from "../../spec/shape.ts";
import * as crossSigning from "../../storage/cross-signing.ts";
import type { CrossSigningKeyRow, KeySignatureRow } from "../../storage/cross-signing.ts";
import type { Database, Db } from "../../storage/database.ts";
import * as deviceKeys from "../../storage/device-keys.ts";
import * as deviceLists from "../../storage/device-lists.ts";
import { ConflictError, type NewEntry, type Stream } from "../stream/stream.ts";
import { invalidSignature, parse, signersOf } from "./cross-signing.ts";
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

/** A key as it was published, and what may sign it. */
interface Signable {
  key: JsonObject;
  signers: Signers;
}

const MAX_ATTEMPTS = 5;
/** Entries of the stream stay below 64 KiB. */
const USERS_PER_ENTRY = 200;

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
  const others = [...signed.keys()].filter((userId) => userId !== signer);
  const isOurs = (userId: UserId): boolean => deps.isLocal(serverNameOf(userId));
  const remote = await remoteMasterKeys(
    deps.remote,
    others.filter((userId) => !isOurs(userId)),
  );
  const local = others.filter(isOurs);
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryUpload(deps, signer, signed, local, remote);
    } catch (error) {
      if (!(error instanceof ConflictError) || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

async function tryUpload(
  deps: SignatureDeps,
  signer: UserId,
  signed: SignedKeys,
  others: readonly UserId[],
  remote: ReadonlyMap<UserId, JsonObject>,
): Promise<SignatureFailures> {
  const { db } = deps.database;
  const published = await readPublished(db, signer, others);
  const failures: SignatureFailures = new Map();
  const signatures: Signature[] = [];
  for (const [userId, keys] of signed) {
    for (const [keyId, key] of keys) {
      const signable =
        userId === signer
          ? ownKey(published, signer, keyId)
          : masterKey(published, signer, userId, keyId, remote.get(userId));
      const found = goodSignatures(signable, { signer, userId, keyId, key });
      if (found instanceof MatrixError) {
        const failed = failures.get(userId) ?? new Map<string, MatrixError>();
        failures.set(userId, failed.set(keyId, found));
      } else signatures.push(...found);
    }
  }
  const news = await withoutKnown(db, signer, signatures);
  if (news.length > 0) {
    await put(deps, signer, news, async (tx) => {
      const now = await readPublished(tx, signer, others);
      if (now.text !== published.text) throw new ConflictError("a key was replaced");
    });
  }
  return failures;
}

/** The keys that signatures may be about, and those that they may be by. */
interface Published {
  crossSigning: readonly CrossSigningKeyRow[];
  /** Of the signer, by device ID. */
  devices: ReadonlyMap<string, JsonObject>;
  /** All of it, to tell whether it changed. */
  text: string;
}

async function readPublished(
  db: Db,
  signer: UserId,
  others: readonly UserId[],
): Promise<Published> {
  const crossSigningKeys = await crossSigning.listKeys(db, [signer, ...others]);
  const devices = await deviceKeys.listOf(db, [signer]);
  const texts = [...crossSigningKeys, ...devices].map((row) => row.json).toSorted();
  return {
    crossSigning: crossSigningKeys,
    devices: new Map(devices.map((row) => [row.device_id, parse(row)])),
    text: JSON.stringify(texts),
  };
}

/** A key of the signer. */
function ownKey(published: Published, signer: UserId, keyId: string): Signable | undefined {
  const row = published.crossSigning.find(
    (row) => row.user_id === signer && row.public_key === keyId,
  );
  if (row?.usage === "master") {
    return { key: parse(row), signers: signersOf(published.devices) };
  }
  if (row !== undefined) return { key: parse(row), signers: signerOf(published, signer, "master") };
  const key = published.devices.get(keyId);
  return key && { key, signers: signerOf(published, signer, "self_signing") };
}

/** Another user's master key, where its public part is the one that is named. */
function masterKey(
  published: Published,
  signer: UserId,
  userId: UserId,
  keyId: string,
  remote: JsonObject | undefined,
): Signable | undefined {
  const row = findKey(published, userId, "master");
  const key = row === undefined ? remote : parse(row);
  const keys = key?.["keys"];
  if (key === undefined || !isObject(keys) || keys[`ed25519:${keyId}`] !== keyId) return undefined;
  return { key, signers: signerOf(published, signer, "user_signing") };
}

function findKey(
  published: Published,
  userId: UserId,
  usage: CrossSigningUsage,
): CrossSigningKeyRow | undefined {
  return published.crossSigning.find((row) => row.user_id === userId && row.usage === usage);
}

function signerOf(published: Published, signer: UserId, usage: CrossSigningUsage): Signers {
  const key = findKey(published, signer, usage)?.public_key;
  return new Map(key === undefined ? [] : [[`ed25519:${key}`, key]]);
}

function goodSignatures(
  signable: Signable | undefined,
  upload: { signer: UserId; userId: UserId; keyId: string; key: JsonObject },
): Signature[] | MatrixError {
  const { signer, userId, keyId, key } = upload;
  if (signable === undefined) return new MatrixError("M_NOT_FOUND", "The key is not known");
  if (keyText(key) !== keyText(signable.key)) {
    return new MatrixError("M_INVALID_PARAM", "The key is not as it was published");
  }
  const { good, isAnyBad } = checkSignatures(key, signer, signable.signers);
  if (isAnyBad) return invalidSignature("The signature is not good");
  if (good.length === 0) {
    return invalidSignature("There is no signature by a key that may sign this");
  }
  return good.map(({ keyId: signerKeyId, signature }) => ({
    user_id: userId,
    key_id: keyId,
    signer_user_id: signer,
    signer_key_id: signerKeyId,
    signature,
  }));
}

async function remoteMasterKeys(
  remote: RemoteKeys,
  userIds: readonly UserId[],
): Promise<Map<UserId, JsonObject>> {
  const answers = await askServers(
    new Map(userIds.map((userId) => [userId, [] as string[]])),
    (server, users) => remote.query(server, users, timeoutOf(undefined)),
    new Map(),
  );
  const found = new Map<UserId, JsonObject>();
  for (const { answer, users } of answers) {
    for (const userId of users.keys()) {
      const key = answer.masterKeys.get(userId);
      if (key !== undefined) found.set(userId, key);
    }
  }
  return found;
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

/**
 * Everybody hears of a user's signatures on own keys; of those on others' keys only the user does.
 *
 * @param check throws where what was checked is no longer so
 */
async function put(
  deps: SignatureDeps,
  signer: UserId,
  news: readonly Signature[],
  check: (tx: Db) => Promise<void>,
): Promise<void> {
  const others = [...new Set(news.map((row) => row.user_id))].filter((id) => id !== signer);
  const hasOwn = news.some((row) => row.user_id === signer);
  const entries: NewEntry[] = [];
  if (hasOwn) entries.push({ kind: "device_list", userId: signer });
  for (let i = 0; i < others.length; i += USERS_PER_ENTRY) {
    const data: DeviceListData = { signed: others.slice(i, i + USERS_PER_ENTRY) };
    entries.push({ kind: "device_list", userId: signer, data: { ...data } });
  }
  await deps.stream.append({
    entries,
    write: async (tx, positions) => {
      await check(tx);
      const position = positions.at(-1) ?? 0;
      await crossSigning.putSignatures(
        tx,
        news.map((row) => ({ ...row, position })),
      );
      if (hasOwn) await deviceLists.noteChange(tx, signer, positions[0] ?? 0);
    },
  });
}
