import assert from "node:assert/strict";
import { chmod, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadSigningKey } from "./signing-key.ts";

test("V038: each of 100 new servers makes a key of its own, which only its owner may read", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gomin-keys-"));
  try {
    const paths = Array.from({ length: 100 }, (_, i) => join(folder, `server${i}`, "signing.key"));
    const keys = await Promise.all(paths.map(loadSigningKey));
    const spellings = keys.map((key) => Buffer.from(key.publicKey).toString("base64"));
    assert.equal(new Set(spellings).size, 100);
    for (const path of paths) assert.equal((await stat(path)).mode & 0o777, 0o600);
    const [path = ""] = paths;
    const again = await loadSigningKey(path);
    assert.equal(Buffer.from(again.publicKey).toString("base64"), spellings[0]);
    await chmod(path, 0o644);
    await assert.rejects(loadSigningKey(path), /others may read/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("processes that start together have one key", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gomin-keys-"));
  try {
    const path = join(folder, "signing.key");
    const keys = await Promise.all(Array.from({ length: 16 }, () => loadSigningKey(path)));
    assert.equal(new Set(keys.map(({ keyId }) => keyId)).size, 1);
    assert.deepEqual(await readdir(folder), ["signing.key"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
