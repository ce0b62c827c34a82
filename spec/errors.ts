/** Standard error codes: https://spec.matrix.org/v1.19/client-server-api/#standard-error-response */

/** The HTTP status that an error code is answered with when its thrower names none. */
const STATUS = {
  M_FORBIDDEN: 403,
  M_UNKNOWN_TOKEN: 401,
  M_MISSING_TOKEN: 401,
  M_USER_LOCKED: 401,
  M_USER_SUSPENDED: 403,
  M_BAD_JSON: 400,
  M_NOT_JSON: 400,
  M_NOT_FOUND: 404,
  M_LIMIT_EXCEEDED: 429,
  M_UNRECOGNIZED: 404,
  M_UNKNOWN: 500,
  M_UNAUTHORIZED: 401,
  M_USER_DEACTIVATED: 403,
  M_USER_IN_USE: 400,
  M_INVALID_USERNAME: 400,
  M_ROOM_IN_USE: 400,
  M_INVALID_ROOM_STATE: 400,
  M_THREEPID_IN_USE: 400,
  M_THREEPID_NOT_FOUND: 400,
  M_THREEPID_AUTH_FAILED: 400,
  M_THREEPID_DENIED: 403,
  M_THREEPID_MEDIUM_NOT_SUPPORTED: 400,
  M_SERVER_NOT_TRUSTED: 403,
  M_UNSUPPORTED_ROOM_VERSION: 400,
  M_INCOMPATIBLE_ROOM_VERSION: 400,
  M_BAD_STATE: 400,
  M_GUEST_ACCESS_FORBIDDEN: 403,
  M_CAPTCHA_NEEDED: 401,
  M_CAPTCHA_INVALID: 401,
  M_MISSING_PARAM: 400,
  M_INVALID_PARAM: 400,
  M_TOO_LARGE: 413,
  M_EXCLUSIVE: 400,
  M_RESOURCE_LIMIT_EXCEEDED: 403,
  M_CANNOT_LEAVE_SERVER_NOTICE_ROOM: 403,
  M_WEAK_PASSWORD: 400,
  M_BAD_ALIAS: 400,
  M_DUPLICATE_ANNOTATION: 400,
  M_NOT_YET_UPLOADED: 504,
  M_CANNOT_OVERWRITE_MEDIA: 409,
  M_URL_NOT_SET: 400,
  M_BAD_STATUS: 502,
  M_CONNECTION_FAILED: 502,
  M_CONNECTION_TIMEOUT: 504,
  M_UNABLE_TO_AUTHORISE_JOIN: 400,
  M_UNABLE_TO_GRANT_JOIN: 400,
  M_UNKNOWN_POS: 400,
  M_UNKNOWN_DEVICE: 400,
  M_WRONG_ROOM_KEYS_VERSION: 403,
  M_INVALID_SIGNATURE: 400,
  M_KEY_TOO_LARGE: 400,
  M_PROFILE_TOO_LARGE: 400,
  M_THREAD_SUBSCRIPTION_CONFLICTING: 409,
  M_CONFLICTING_UNSUBSCRIPTION: 409,
  M_USER_LIMIT_EXCEEDED: 403,
  M_INVITE_BLOCKED: 403,
  M_APPSERVICE_LOGIN_UNSUPPORTED: 400,
  M_CONCURRENT_WRITE: 409,
} as const;

export type ErrorCode = keyof typeof STATUS;

/**
 * An error that its receiver may read: an error code of the specification and a sentence.
 *
 * `server/http.ts` alone turns it into a response. Anything else that is thrown is a bug.
 */
export class MatrixError extends Error {
  override readonly name = "MatrixError";
  readonly errcode: ErrorCode;
  /** The HTTP status. */
  readonly status: number;
  /** Further members of the body, such as `retry_after_ms` or `soft_logout`. */
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(
    errcode: ErrorCode,
    message: string,
    options: { status?: number; fields?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.errcode = errcode;
    this.status = options.status ?? STATUS[errcode];
    this.fields = options.fields ?? {};
  }

  /** The response body. */
  toJSON(): Record<string, unknown> {
    return { errcode: this.errcode, error: this.message, ...this.fields };
  }
}
