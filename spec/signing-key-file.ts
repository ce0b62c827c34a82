/** The file of a server's signing keys: a line `ed25519 a_XyZ <seed in base64>` for each key. */
import { decodeBase64, encodeBase64 } from "./base64.ts";
import { SEED_BYTES, SigningKey } from "./signing.ts";

const LINE = /^ed25519 +(?<version>[A-Za-z0-9_]+) +(?<seed>\S+)$/;

/**
 * Reads the keys of a file, in their order. Empty lines and lines after `#` are skipped.
 *
 * @throws Error naming the line that is wrong, never what stands in it
 */
export function parseSigningKeys(text: string): SigningKey[] {
  const keys: SigningKey[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const trimmed = line.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const { version, seed } = LINE.exec(trimmed)?.groups ?? {};
    const bytes = seed === undefined ? undefined : decodeBase64(seed);
    if (version === undefined || bytes?.length !== SEED_BYTES) {
      throw new Error(`line ${index + 1}: expected "ed25519 <key version> <seed in base64>"`);
    }
    keys.push(new SigningKey(version, bytes));
  }
  return keys;
}

/**
 * Writes one line of the file.
 *
 * @param version letters, digits and `_`, as `a_XyZ`
 * @param seed 32 random bytes
 */
export function formatSigningKey(version: string, seed: Uint8Array): string {
  const line = `ed25519 ${version} ${encodeBase64(seed)}`;
  if (!LINE.test(line)) throw new RangeError("a key version has letters, digits and _");
  if (seed.length !== SEED_BYTES) throw new RangeError(`a seed has ${SEED_BYTES} bytes`);
  return `${line}\n`;
}
