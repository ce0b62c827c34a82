/** Capabilities: https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation */
import { type Route, route } from "../server/route.ts";
import { roomVersions } from "../spec/room-versions.ts";
import type { JsonObject } from "../spec/shape.ts";

export function capabilities({
  defaultRoomVersion,
  passwordsEnabled,
  managedProfileFields,
}: {
  defaultRoomVersion: string;
  passwordsEnabled: boolean;
  /** Profile fields that only administrators change. */
  managedProfileFields: readonly string[];
}): Route[] {
  const available = Object.fromEntries([...roomVersions.keys()].map((v) => [v, "stable"]));
  const maySet = (field: string, isAdmin: boolean) =>
    isAdmin || !managedProfileFields.includes(field);

  return [
    route({
      method: "GET",
      path: "/_matrix/client/v3/capabilities",
      aliases: ["/_matrix/client/r0/capabilities"],
      access: "user",
      async handle({ caller: { isAdmin, isGuest } }) {
        const disallowed = isAdmin ? [] : managedProfileFields;
        const allowed = isGuest ? ["displayname"].filter((f) => maySet(f, isAdmin)) : undefined;
        const found: JsonObject = {
          "m.change_password": { enabled: passwordsEnabled && !isGuest },
          "m.room_versions": { default: defaultRoomVersion, available },
          "m.set_displayname": { enabled: maySet("displayname", isAdmin) },
          "m.set_avatar_url": { enabled: maySet("avatar_url", isAdmin) && !isGuest },
          "m.3pid_changes": { enabled: false },
          "m.get_login_token": { enabled: passwordsEnabled && !isGuest },
          "m.forget_forced_upon_leave": { enabled: false },
          "m.profile_fields": {
            enabled: true,
            ...(allowed === undefined ? {} : { allowed }),
            ...(disallowed.length === 0 ? {} : { disallowed }),
          },
        };
        if (isAdmin) found["m.account_moderation"] = { suspend: true, lock: true };
        return { capabilities: found };
      },
    }),
  ];
}
