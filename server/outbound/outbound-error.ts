/** Why a request to elsewhere gave no answer. */

/**
 * - `denied`: to an address, or by a scheme, that is not allowed
 * - `unreachable`: no connection, or it broke
 * - `timeout`: too slow
 * - `too-large`: more than was asked for
 * - `redirects`: too many of them
 * - `bad-response`: not HTTP as we speak it
 */
export type OutboundErrorKind =
  | "denied"
  | "unreachable"
  | "timeout"
  | "too-large"
  | "redirects"
  | "bad-response";

export class OutboundError extends Error {
  override readonly name = "OutboundError";
  readonly kind: OutboundErrorKind;

  constructor(kind: OutboundErrorKind, message: string, options?: { cause: unknown }) {
    super(message, options);
    this.kind = kind;
  }
}
