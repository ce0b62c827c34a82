/** Secrets: how they are compared and hashed. */
import { createHash, timingSafeEqual } from "node:crypto";

/** What is stored of a secret of 256 random bits, which needs no salt. */
export function sha256(secret: string | Uint8Array): Buffer {
  return createHash("sha256").update(secret).digest();
}

/** Whether two secrets are the same; how long it takes says nothing of where they differ. */
export function isSameSecret(a: string | Uint8Array, b: string | Uint8Array): boolean {
  return timingSafeEqual(sha256(a), sha256(b));
}
