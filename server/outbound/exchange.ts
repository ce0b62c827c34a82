/** Sends one request and waits for the head of its answer. */
import type { ClientRequest, IncomingMessage } from "node:http";
import { AddressDenied } from "./guarded-agents.ts";
import { OutboundError } from "./outbound-error.ts";

export interface ExchangeBounds {
  connectMs: number;
  /** Time in ms from being connected to the head of the answer. */
  idleMs: number;
  /** Aborted when the time for the whole is over. */
  signal: AbortSignal;
}

/** A kept connection turned out to be closed by its peer; nothing was answered. */
export class StaleConnection extends Error {
  override readonly name = "StaleConnection";
}

/** @throws OutboundError, StaleConnection, or the signal's reason */
export function exchange(
  request: ClientRequest,
  body: string | Uint8Array | undefined,
  { connectMs, idleMs, signal }: ExchangeBounds,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let timer = failAfter(request, connectMs, "no connection in time");
    const onConnected = (): void => {
      clearTimeout(timer);
      timer = failAfter(request, idleMs, "no answer in time");
    };
    const onAbort = (): void => void request.destroy(signal.reason as Error);
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    };
    request.once("socket", (socket) => {
      if (request.reusedSocket) onConnected();
      else socket.once("encrypted" in socket ? "secureConnect" : "connect", onConnected);
    });
    request.once("response", (response) => {
      end();
      resolve(response);
    });
    // Stays: an error after the answer is told to the reader of its body.
    request.on("error", (error) => {
      end();
      reject(signal.aborted ? (signal.reason as Error) : explain(error, request));
    });
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort);
    request.end(body);
  });
}

function failAfter(request: ClientRequest, ms: number, message: string): NodeJS.Timeout {
  return setTimeout(() => request.destroy(new OutboundError("timeout", message)), ms);
}

function explain(error: Error, request: ClientRequest): Error {
  if (error instanceof OutboundError) return error;
  if (error instanceof AddressDenied) {
    return new OutboundError("denied", error.message, { cause: error });
  }
  const code: unknown = Reflect.get(error, "code");
  if (typeof code === "string" && code.startsWith("HPE_")) {
    return new OutboundError("bad-response", "not an HTTP answer", { cause: error });
  }
  if (request.reusedSocket && (code === "ECONNRESET" || code === "EPIPE")) {
    return new StaleConnection("the connection was closed", { cause: error });
  }
  return new OutboundError("unreachable", "cannot be reached", { cause: error });
}
