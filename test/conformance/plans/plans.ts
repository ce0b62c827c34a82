/** A valid request for every operation that is served. */
import type { Plans } from "../plan.ts";
import { accountPlans } from "./accounts.ts";
import { encryptionPlans } from "./encryption.ts";
import { mediaPlans } from "./media.ts";
import { pushPlans } from "./push.ts";
import { roomPlans } from "./rooms.ts";

export const PLANS: Plans = {
  ...accountPlans,
  ...roomPlans,
  ...encryptionPlans,
  ...mediaPlans,
  ...pushPlans,
};
