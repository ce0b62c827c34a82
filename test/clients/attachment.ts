/** Encrypted attachments, by WebCrypto: https://spec.matrix.org/v1.19/client-server-api/#sending-encrypted-attachments */
import assert from "node:assert/strict";
import type { webcrypto } from "node:crypto";

interface SecretJwk {
  kty: string;
  alg: string;
  k: string;
  key_ops: string[];
  ext: boolean;
}

/** What the message says of its file, without its address. */
export interface AttachmentInfo {
  v: "v2";
  key: SecretJwk;
  iv: string;
  hashes: { sha256: string };
}

export async function encryptAttachment(
  file: Uint8Array<ArrayBuffer>,
): Promise<{ ciphertext: Uint8Array<ArrayBuffer>; info: AttachmentInfo }> {
  const algorithm = { name: "AES-CTR", length: 256 };
  const key = await crypto.subtle.generateKey(algorithm, true, ["encrypt", "decrypt"]);
  // The lower half counts the blocks, from 0.
  const counter = new Uint8Array(16);
  crypto.getRandomValues(counter.subarray(0, 8));
  const encrypted = await crypto.subtle.encrypt(counterMode(counter), key, file);
  const ciphertext = new Uint8Array(encrypted);
  return {
    ciphertext,
    info: {
      v: "v2",
      key: (await crypto.subtle.exportKey("jwk", key)) as SecretJwk,
      iv: unpaddedBase64(counter),
      hashes: { sha256: await sha256(ciphertext) },
    },
  };
}

/** @throws AssertionError where the file is not the one that was sent */
export async function decryptAttachment(
  ciphertext: Uint8Array<ArrayBuffer>,
  info: AttachmentInfo,
): Promise<Uint8Array> {
  assert.equal(await sha256(ciphertext), info.hashes.sha256, "the hash of the file");
  const key = await crypto.subtle.importKey("jwk", info.key, "AES-CTR", false, ["decrypt"]);
  const counter = new Uint8Array(Buffer.from(info.iv, "base64"));
  return new Uint8Array(await crypto.subtle.decrypt(counterMode(counter), key, ciphertext));
}

function counterMode(counter: Uint8Array<ArrayBuffer>): webcrypto.AesCtrParams {
  return { name: "AES-CTR", counter, length: 64 };
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return unpaddedBase64(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

function unpaddedBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replaceAll("=", "");
}
