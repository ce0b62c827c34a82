/** Who most stories are about: alice with a phone and a laptop, and bob. */
import { startServer, type TestServer } from "../fixtures/homeserver.ts";
import { type Device, startDevice } from "./device.ts";

export interface World extends AsyncDisposable {
  server: TestServer;
  alice: Device;
  aliceLaptop: Device;
  bob: Device;
}

export async function startWorld(): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startServer());
  const [aliceUser, bobUser] = await Promise.all([
    server.register("alice"),
    server.register("bob"),
  ]);
  const alice = stack.use(await startDevice(server, aliceUser));
  const aliceLaptop = stack.use(await startDevice(server, await server.login(aliceUser)));
  const bob = stack.use(await startDevice(server, bobUser));
  const owned = stack.move();
  return {
    server,
    alice,
    aliceLaptop,
    bob,
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}
