/**
 * Where the server does other than the walk expects, and why it is right.
 *
 * A key is an operationId, what was changed, and how: `missing`, `mistyped` or `misvalued`.
 */
export const EXCEPTIONS: Readonly<Record<string, string>> = {
  "getVersions access token misvalued":
    "the answer is the same for everybody, so a client whose token has expired may have it too",
  "setPushRule body.conditions[0].is mistyped":
    "the condition's kind has no such parameter, and what is unknown is kept for later versions",
  "setPushRule body.conditions[0].value mistyped":
    "the condition's kind has no such parameter, and what is unknown is kept for later versions",
  "setPushRule body.pattern mistyped": "only rules of the kind content have a pattern",
  "login body.token mistyped": "it is not looked at in a login with a password",
};

/** Operations that are not served, by the reason. Their paths answer M_UNRECOGNIZED. */
const NOT_SERVED_BECAUSE: Readonly<Record<string, readonly string[]>> = {
  "addresses of people outside Matrix are not built": [
    "post3PIDs",
    "add3PID",
    "bind3PID",
    "delete3pidFromAccount",
    "unbind3pidFromAccount",
    "requestTokenTo3PIDEmail",
    "requestTokenTo3PIDMSISDN",
    "requestTokenToRegisterEmail",
    "requestTokenToRegisterMSISDN",
    "requestTokenToResetPasswordEmail",
    "requestTokenToResetPasswordMSISDN",
    "inviteBy3PID",
  ],
  "application services and third-party networks are not built": [
    "pingAppservice",
    "updateAppserviceRoomDirectoryVisibility",
    "getProtocols",
    "getProtocolMetadata",
    "queryLocationByProtocol",
    "queryUserByProtocol",
    "queryLocationByAlias",
    "queryUserByID",
  ],
  "single sign-on and OAuth are not built": ["redirectToSSO", "redirectToIdP", "getAuthMetadata"],
  "previews of URLs are not built": ["getUrlPreview", "getUrlPreviewAuthed"],
  "pushers are not built": ["getPushers", "postPusher"],
  "finding rooms and people is not built": [
    "getPublicRooms",
    "queryPublicRooms",
    "getRoomSummary",
    "getSpaceHierarchy",
    "getMutualRooms",
    "search",
    "searchUserDirectory",
    "getEventByTimestamp",
  ],
  "reporting, upgrading rooms, calls and policy servers are not built": [
    "reportRoom",
    "reportEvent",
    "reportUser",
    "upgradeRoom",
    "getTurnServer",
    "getWellknownPolicy",
  ],
  "they were replaced by /sync years ago": [
    "getEvents",
    "initialSync",
    "getOneEvent",
    "peekEvents",
    "roomInitialSync",
  ],
};

export const NOT_SERVED: readonly string[] = Object.values(NOT_SERVED_BECAUSE).flat();
