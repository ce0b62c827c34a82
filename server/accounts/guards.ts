/**
 * Who may not do what: https://spec.matrix.org/v1.19/client-server-api/#account-moderation and
 * https://spec.matrix.org/v1.19/client-server-api/#guest-access
 */
import { MatrixError } from "../../spec/errors.ts";
import type { Caller } from "../route.ts";

/** @throws MatrixError M_USER_SUSPENDED */
export function refuseSuspended(caller: Pick<Caller, "isSuspended">): void {
  if (caller.isSuspended) {
    throw new MatrixError("M_USER_SUSPENDED", "You cannot do this while your account is suspended");
  }
}

/** @throws MatrixError M_GUEST_ACCESS_FORBIDDEN */
export function refuseGuest(caller: Pick<Caller, "isGuest">): void {
  if (caller.isGuest) {
    throw new MatrixError("M_GUEST_ACCESS_FORBIDDEN", "Guests cannot do this");
  }
}

export function lockedError(): MatrixError {
  return new MatrixError("M_USER_LOCKED", "This account has been locked", {
    fields: { soft_logout: true },
  });
}
