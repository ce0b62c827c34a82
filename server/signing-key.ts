/** The server's signing key: https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys */
import { randomBytes } from "node:crypto";
import { chmod, link, mkdir, open, readFile, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { SEED_BYTES, type SigningKey } from "../spec/signing.ts";
import { formatSigningKey, parseSigningKeys } from "../spec/signing-key-file.ts";

/**
 * Reads the signing key, or makes one where the file does not exist.
 *
 * @throws Error for a file that others than its owner may read, or that holds no key
 */
export async function loadSigningKey(path: string): Promise<SigningKey> {
  await create(path);
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) {
    throw new Error(`${path}: others may read the signing key; run: chmod 600 ${path}`);
  }
  const [key] = parseSigningKeys(await readFile(path, "utf8"));
  if (key === undefined) throw new Error(`${path}: holds no signing key`);
  return key;
}

/** Makes the file, unless it is there; of processes that start together one wins, with a whole file. */
async function create(path: string): Promise<void> {
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (exists) return;
  await mkdir(dirname(path), { recursive: true });
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  const file = await open(draft, "wx", 0o600);
  try {
    const version = `a_${randomBytes(3).toString("hex")}`;
    await file.writeFile(formatSigningKey(version, randomBytes(SEED_BYTES)));
    await file.sync();
    await file.close();
    await chmod(draft, 0o600);
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(draft, { force: true });
  }
}
