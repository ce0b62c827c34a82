/** Devices and users verify each other by comparing emoji, with matrix-js-sdk. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CryptoEvent,
  type GeneratedSas,
  type ShowSasCallbacks,
  VerificationPhase,
  type VerificationRequest,
  type Verifier,
  VerifierEvent,
} from "matrix-js-sdk/lib/crypto-api/index.js";
import type { Device } from "./device.ts";
import { until } from "./until.ts";
import { startWorld, type World } from "./world.ts";

const stack = new AsyncDisposableStack();
let world: World;

before(async () => {
  world = stack.use(await startWorld());
  // A user's first cross-signing keys need no password.
  for (const { crypto } of [world.alice, world.bob]) {
    await crypto.bootstrapCrossSigning({
      authUploadDeviceSigningKeys: async (upload) => {
        await upload(null);
      },
    });
  }
});
after(() => stack.disposeAsync());

test("alice verifies her own second device, which then holds her cross-signing keys", async () => {
  const { alice, aliceLaptop } = world;
  await until("the laptop knows of alice's cross-signing", () =>
    aliceLaptop.crypto.userHasCrossSigningKeys(alice.userId, true),
  );
  const incoming = nextRequest(alice);
  const outgoing = await aliceLaptop.crypto.requestOwnUserVerification();
  await compareEmoji(outgoing, await incoming);

  for (const device of [alice, aliceLaptop]) {
    await until("the laptop is signed by alice", async () => {
      const { deviceId } = aliceLaptop;
      const status = await device.crypto.getDeviceVerificationStatus(alice.userId, deviceId);
      return status?.crossSigningVerified === true;
    });
  }
  await until("the laptop was sent alice's private keys", async () => {
    const { privateKeysCachedLocally } = await aliceLaptop.crypto.getCrossSigningStatus();
    return Object.values(privateKeysCachedLocally).every(Boolean);
  });
});

test("alice verifies bob in their encrypted room, and each then trusts the other", async () => {
  const { alice, bob } = world;
  const roomId = await alice.createEncryptedRoom([bob]);
  await bob.seesMembers(roomId, [alice, bob]);
  for (const [one, other] of [
    [alice, bob],
    [bob, alice],
  ] as const) {
    await until("each knows the other's cross-signing keys", () =>
      one.crypto.userHasCrossSigningKeys(other.userId, true),
    );
  }
  const incoming = nextRequest(bob);
  const outgoing = await alice.crypto.requestVerificationDM(bob.userId, roomId);
  await compareEmoji(outgoing, await incoming);

  for (const [one, other] of [
    [alice, bob],
    [bob, alice],
  ] as const) {
    await until(`${one.userId} trusts ${other.userId}`, async () => {
      const status = await one.crypto.getUserVerificationStatus(other.userId);
      return status.isCrossSigningVerified();
    });
  }
});

test("whom alice verified on one device, her other device trusts too", async () => {
  const { aliceLaptop, bob } = world;
  await until("the laptop trusts bob", async () => {
    const status = await aliceLaptop.crypto.getUserVerificationStatus(bob.userId);
    return status.isCrossSigningVerified();
  });
});

function nextRequest({ client }: Device): Promise<VerificationRequest> {
  const { promise, resolve } = Promise.withResolvers<VerificationRequest>();
  client.once(CryptoEvent.VerificationRequestReceived, resolve);
  return promise;
}

/** Both sides are shown the same emoji, and say so. */
async function compareEmoji(ours: VerificationRequest, theirs: VerificationRequest): Promise<void> {
  await theirs.accept();
  await until("the request is accepted", () => ours.phase === VerificationPhase.Ready);
  const ourVerifier = await ours.startVerification("m.sas.v1");
  const theirVerifier = await until("the other side sees the start", () => theirs.verifier);
  const shown = [shownBy(ourVerifier), shownBy(theirVerifier)];
  const done = [ourVerifier.verify(), theirVerifier.verify()];
  const [ourSas, theirSas] = (await Promise.all(shown)) as [ShowSasCallbacks, ShowSasCallbacks];
  assert.equal(emojiOf(ourSas.sas).length, 7);
  assert.deepEqual(emojiOf(ourSas.sas), emojiOf(theirSas.sas), "both see the same");
  await Promise.all([ourSas.confirm(), theirSas.confirm()]);
  await Promise.all(done);
  await until("both sides are done", () =>
    [ours, theirs].every(({ phase }) => phase === VerificationPhase.Done),
  );
}

function shownBy(verifier: Verifier): Promise<ShowSasCallbacks> {
  const { promise, resolve } = Promise.withResolvers<ShowSasCallbacks>();
  verifier.once(VerifierEvent.ShowSas, resolve);
  return promise;
}

function emojiOf({ emoji = [] }: GeneratedSas): string[] {
  return emoji.map(([symbol]) => symbol);
}
