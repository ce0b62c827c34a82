/** Valid requests about push rules. */
import type { Plan, Plans } from "../plan.ts";
import type { World } from "../world.ts";

const V3 = "/_matrix/client/v3";

const RULE = {
  actions: ["notify", { set_tweak: "highlight" }],
  conditions: [{ kind: "event_match", key: "content.body", pattern: "cake" }],
};

export const pushPlans: Plans = {
  getNotifications: () => ({}),
  getPushRules: () => ({}),
  getPushRulesGlobal: () => ({}),
  setPushRule: (world) => ({
    params: { kind: "override", ruleId: world.unique("rule") },
    body: RULE,
  }),
  getPushRule: ofRule(),
  deletePushRule: ofRule(),
  isPushRuleEnabled: ofRule(),
  setPushRuleEnabled: ofRule({ enabled: false }),
  getPushRuleActions: ofRule(),
  setPushRuleActions: ofRule({ actions: ["notify"] }),
};

/** A rule that alice has just made. */
function ofRule(body?: unknown) {
  return async (world: World): Promise<Plan> => {
    const ruleId = world.unique("rule");
    await world.alice.call("PUT", `${V3}/pushrules/global/override/${ruleId}`, RULE);
    const params = { kind: "override", ruleId };
    return body === undefined ? { params } : { params, body };
  };
}
