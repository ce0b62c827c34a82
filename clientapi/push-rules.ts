/** Push rules: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api */
import type { PushRules } from "../server/push-rules/push-rules.ts";
import { type Route, route } from "../server/route.ts";
import { getRule, readKind } from "../spec/push-rules.ts";
import { array, boolean, json, object, optional, refine, string, text } from "../spec/shape.ts";

const ALL = "/_matrix/client/v3/pushrules/";
const ALL_ALIASES = [
  "/_matrix/client/v3/pushrules",
  "/_matrix/client/r0/pushrules/",
  "/_matrix/client/r0/pushrules",
];
const GLOBAL = "/_matrix/client/v3/pushrules/global/";
const GLOBAL_ALIASES = [
  "/_matrix/client/v3/pushrules/global",
  "/_matrix/client/r0/pushrules/global/",
  "/_matrix/client/r0/pushrules/global",
];
const RULE = "/_matrix/client/v3/pushrules/global/:kind/:ruleId";
const RULE_R0 = ["/_matrix/client/r0/pushrules/global/:kind/:ruleId"];
const ENABLED = "/_matrix/client/v3/pushrules/global/:kind/:ruleId/enabled";
const ENABLED_R0 = ["/_matrix/client/r0/pushrules/global/:kind/:ruleId/enabled"];
const ACTIONS = "/_matrix/client/v3/pushrules/global/:kind/:ruleId/actions";
const ACTIONS_R0 = ["/_matrix/client/r0/pushrules/global/:kind/:ruleId/actions"];

const params = object({ kind: refine(string, readKind), ruleId: string });
const otherRule = optional(text({ maxBytes: 255 }));

export function pushRules(pushRules: PushRules): Route[] {
  return [
    route({
      method: "GET",
      path: ALL,
      aliases: ALL_ALIASES,
      access: "user",
      async handle({ caller }) {
        return { global: await pushRules.get(caller.userId) };
      },
    }),
    route({
      method: "GET",
      path: GLOBAL,
      aliases: GLOBAL_ALIASES,
      access: "user",
      async handle({ caller }) {
        return pushRules.get(caller.userId);
      },
    }),
    route({
      method: "GET",
      path: RULE,
      aliases: RULE_R0,
      access: "user",
      params,
      async handle({ caller, params }) {
        return getRule(await pushRules.get(caller.userId), params.kind, params.ruleId);
      },
    }),
    route({
      method: "PUT",
      path: RULE,
      aliases: RULE_R0,
      access: "user",
      params,
      query: object({ before: otherRule, after: otherRule }),
      // What it has to hold depends on the kind.
      body: json,
      async handle({ caller, params, query, body }) {
        await pushRules.put(caller.userId, { ...params, ...query, body });
        return {};
      },
    }),
    route({
      method: "DELETE",
      path: RULE,
      aliases: RULE_R0,
      access: "user",
      params,
      async handle({ caller, params }) {
        await pushRules.remove(caller.userId, params.kind, params.ruleId);
        return {};
      },
    }),
    route({
      method: "GET",
      path: ENABLED,
      aliases: ENABLED_R0,
      access: "user",
      params,
      async handle({ caller, params }) {
        const rules = await pushRules.get(caller.userId);
        return { enabled: getRule(rules, params.kind, params.ruleId).enabled };
      },
    }),
    route({
      method: "PUT",
      path: ENABLED,
      aliases: ENABLED_R0,
      access: "user",
      params,
      body: object({ enabled: boolean }),
      async handle({ caller, params: { kind, ruleId }, body }) {
        await pushRules.setEnabled(caller.userId, kind, ruleId, body.enabled);
        return {};
      },
    }),
    route({
      method: "GET",
      path: ACTIONS,
      aliases: ACTIONS_R0,
      access: "user",
      params,
      async handle({ caller, params }) {
        const rules = await pushRules.get(caller.userId);
        return { actions: getRule(rules, params.kind, params.ruleId).actions };
      },
    }),
    route({
      method: "PUT",
      path: ACTIONS,
      aliases: ACTIONS_R0,
      access: "user",
      params,
      body: object({ actions: array(json) }),
      async handle({ caller, params: { kind, ruleId }, body }) {
        await pushRules.setActions(caller.userId, kind, ruleId, body.actions);
        return {};
      },
    }),
  ];
}
