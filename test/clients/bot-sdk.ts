/**
 * matrix-bot-sdk, for bots that do not encrypt.
 *
 * It loads a native library for encryption even where nothing is encrypted, and that one is not in the
 * package registry: an empty module stands in for it.
 */
import { registerHooks } from "node:module";

const EMPTY = "none:matrix-sdk-crypto";

registerHooks({
  resolve(specifier, context, next) {
    if (specifier !== "@matrix-org/matrix-sdk-crypto-nodejs") return next(specifier, context);
    return { url: EMPTY, format: "commonjs", shortCircuit: true };
  },
  load(url, context, next) {
    if (url !== EMPTY) return next(url, context);
    return { format: "commonjs", source: "module.exports = {};", shortCircuit: true };
  },
});

export const { AutojoinRoomsMixin, MatrixClient, MemoryStorageProvider } =
  await import("matrix-bot-sdk");
