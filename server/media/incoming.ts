/** A body on its way in: bounded, and apart from the request, which survives its failure. */
import { type Readable, Transform } from "node:stream";

/**
 * Passes a body on as it comes. Where it fails, or whoever reads it gives up, the body itself is not
 * destroyed: its connection still carries the answer.
 *
 * @param options.tooLarge makes the error for a body beyond `maxBytes`
 * @param options.broken makes the error for a body that ends before its end
 */
export function receive(
  body: Readable,
  options: {
    maxBytes: number;
    tooLarge: () => Error;
    broken: () => Error;
    signal?: AbortSignal | undefined;
  },
): Readable {
  const { maxBytes, signal } = options;
  let bytes = 0;
  const received = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > maxBytes) done(options.tooLarge());
      else done(null, chunk);
    },
  });
  const fail = (error: Error): void => void received.destroy(error);
  const onAbort = (): void => fail(signal?.reason as Error);
  const onClose = (): void => {
    if (!body.readableEnded) fail(options.broken());
  };
  body.once("error", fail).once("close", onClose).pipe(received);
  // What reads it may not be there yet when it fails; who reads it later is told.
  received.on("error", () => undefined);
  received.once("close", () => {
    body.unpipe(received).off("close", onClose);
    signal?.removeEventListener("abort", onAbort);
  });
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener("abort", onAbort);
  if (body.destroyed) onClose();
  return received;
}
