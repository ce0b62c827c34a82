/** All routes of end-to-end encryption, with accounts and the engine behind them, for tests. */
import { Keys, noRemoteKeys } from "../server/keys/keys.ts";
import { KeyBackups } from "../server/key-backup/key-backup.ts";
import { openMemberships } from "../server/memberships/memberships.ts";
import { ToDevice } from "../server/to-device/to-device.ts";
import { MatrixError } from "../spec/errors.ts";
import { type Alice, openAccountServer } from "./accounts-testing.ts";
import { crossSigning } from "./cross-signing.ts";
import { endToEndEncryption } from "./end-to-end-encryption.ts";
import { keyBackup } from "./key-backup.ts";
import { sendToDevice } from "./send-to-device.ts";
import { serveRoutes, type TestHttp } from "./testing.ts";

export interface EncryptionServer extends AsyncDisposable {
  keys: Keys;
  toDevice: ToDevice;
  /** The stream position. */
  position(): number;
  request: TestHttp["request"];
  /** Makes an account with a device; its requests reach the routes of encryption. */
  register(name: string): Promise<Alice>;
  logIn(who: Pick<Alice, "userId" | "password">): Promise<Alice>;
}

export async function openEncryptionServer(): Promise<EncryptionServer> {
  const server = await openAccountServer();
  const { database, stream, interactiveAuth, sessions } = server.accounts;
  const isLocal = (name: string): boolean => name === "example.org";
  const onError = (error: unknown): void => {
    throw error;
  };
  const memberships = openMemberships({ database, stream });
  const keys = new Keys({ database, stream, memberships, isLocal, remote: noRemoteKeys, onError });
  const toDevice = new ToDevice({ database, stream, isLocal, clock: Date.now, onError });
  const http = await serveRoutes(
    [
      ...endToEndEncryption({
        keys,
        readPosition(token) {
          if (/^\d+$/.test(token)) return Number(token);
          throw new MatrixError("M_INVALID_PARAM", "not a token");
        },
      }),
      ...crossSigning({ keys, interactiveAuth }),
      ...sendToDevice(toDevice),
      ...keyBackup(new KeyBackups({ database })),
    ],
    (token, use) => sessions.authenticate(token, use),
  );
  const reach = (user: Alice): Alice => ({
    ...user,
    request: (method, path, body) => http.request(method, path, body, user.token),
  });
  return {
    keys,
    toDevice,
    position: () => stream.position,
    request: (...call) => http.request(...call),
    register: async (name) => reach(await server.register(name)),
    logIn: async (who) => reach(await server.logIn(who)),
    async [Symbol.asyncDispose]() {
      await http[Symbol.asyncDispose]();
      await toDevice[Symbol.asyncDispose]();
      keys[Symbol.dispose]();
      memberships[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}
