/** Valid requests about media. */
import { textAt } from "../../fixtures/json.ts";
import type { Plan, Plans } from "../plan.ts";
import type { World } from "../world.ts";

const THUMBNAIL = { width: "32", height: "32", method: "crop" };

export const mediaPlans: Plans = {
  getConfig: () => ({}),
  getConfigAuthed: () => ({}),
  createContent: () => ({}),
  uploadContent: () => ({
    query: { filename: "War and Peace.pdf" },
    headers: { "content-type": "application/pdf" },
    body: Buffer.from("%PDF-1.4 all of it"),
  }),
  uploadContentToMXC: async ({ alice }) => {
    const uri = textAt(await alice.call("POST", "/_matrix/media/v1/create"), "content_uri");
    const [, , serverName = "", mediaId = ""] = uri.split("/");
    return {
      params: { serverName, mediaId },
      query: { filename: "War and Peace.pdf" },
      headers: { "content-type": "application/pdf" },
      body: Buffer.from("%PDF-1.4 all of it"),
    };
  },
  getContent: ofImage,
  getContentOverrideName: ofImage,
  getContentThumbnail: async (world) => ({ ...(await ofImage(world)), query: THUMBNAIL }),
  getContentAuthed: ofImage,
  getContentOverrideNameAuthed: ofImage,
  getContentThumbnailAuthed: async (world) => ({ ...(await ofImage(world)), query: THUMBNAIL }),
};

async function ofImage(world: World): Promise<Plan> {
  return { params: { ...(await world.image()), fileName: "red.png" } };
}
