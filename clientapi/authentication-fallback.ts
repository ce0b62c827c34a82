/** Authentication in a browser, for clients that do not know a stage: https://spec.matrix.org/v1.19/client-server-api/#fallback */
import type { Readable } from "node:stream";
import { type InteractiveAuth, type Stage, STAGES } from "../server/accounts/accounts.ts";
import { type Reply, type Route, route } from "../server/route.ts";
import { MatrixError } from "../spec/errors.ts";
import { isObject, object, oneOf, string } from "../spec/shape.ts";
import { html, type Html, page } from "./html.ts";

const PATH = "/_matrix/client/v3/auth/:stage/fallback/web";
const R0 = ["/_matrix/client/r0/auth/:stage/fallback/web"];
const MAX_FORM_BYTES = 8 * 1024;

const params = object({ stage: oneOf(...STAGES) });
const query = object({ session: string });

/** What the specification has clients wait for. */
const DONE = `
if (window.onAuthDone) {
  window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
  window.opener.postMessage("authDone", "*");
}`;

export function authenticationFallback(
  interactiveAuth: Pick<InteractiveAuth, "find" | "attemptApart" | "params">,
): Route[] {
  async function ask(stage: Stage, session: string, problem?: MatrixError): Promise<Reply> {
    const found = await interactiveAuth.find(session);
    if (found === undefined || !found.stages.includes(stage)) {
      return page({
        title: "This link is not good any more",
        body: html`<p>Please go back to your app and start again.</p>`,
        status: 404,
      });
    }
    return page({
      title: "Confirm that it is you",
      status: problem === undefined ? 200 : 401,
      body: html`
        ${found.userId === undefined ? "" : html`<p>You are signed in as ${found.userId}.</p>`}
        ${problem === undefined ? "" : html`<p class="problem">${problem.message}</p>`}
        <form method="post">
          <input type="hidden" name="session" value="${session}" />
          ${fieldsOf(stage, interactiveAuth.params(stage))}
        </form>
      `,
    });
  }

  return [
    route({
      method: "GET",
      path: PATH,
      aliases: R0,
      access: "public",
      params,
      query,
      async handle({ params, query }) {
        return ask(params.stage, query.session);
      },
    }),
    route({
      method: "POST",
      path: PATH,
      aliases: R0,
      access: "public",
      rateLimit: "rc_login.address",
      params,
      body: "stream",
      maxBodyBytes: MAX_FORM_BYTES,
      async handle({ params: { stage }, stream }) {
        const form = await readForm(stream);
        const session = form.get("session") ?? "";
        try {
          await interactiveAuth.attemptApart(session, {
            type: stage,
            identifier: { type: "m.id.user", user: form.get("user") ?? "" },
            password: form.get("password") ?? "",
            token: form.get("token") ?? "",
          });
        } catch (error) {
          if (!(error instanceof MatrixError)) throw error;
          return ask(stage, session, error);
        }
        return page({
          title: "Thank you",
          body: html`<p>You can close this window and return to your app.</p>`,
          script: DONE,
        });
      },
    }),
  ];
}

function fieldsOf(stage: Stage, params: unknown): Html {
  switch (stage) {
    case "m.login.dummy":
      return html`<button>Continue</button>`;
    case "m.login.password":
      return html`
        <label>User name <input name="user" autocomplete="username" required /></label>
        <label>
          Password
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        <button>Continue</button>
      `;
    case "m.login.registration_token":
      return html`
        <label>Registration token <input name="token" autocomplete="off" required /></label>
        <button>Continue</button>
      `;
    default:
      return html`
        <p>To make an account you must agree to:</p>
        <ul>
          ${documentsIn(params).map(
            ({ name, url }) =>
              html`<li><a href="${url}" target="_blank" rel="noopener">${name}</a></li>`,
          )}
        </ul>
        <button>I agree</button>
      `;
  }
}

/** Every document in every language: https://spec.matrix.org/v1.19/client-server-api/#definition-mloginterms-params */
function documentsIn(params: unknown): { name: string; url: string }[] {
  const policies = isObject(params) ? params["policies"] : undefined;
  return Object.values(isObject(policies) ? policies : {})
    .flatMap((policy) => Object.values(isObject(policy) ? policy : {}))
    .filter((text) => isObject(text))
    .map(({ name, url }) => ({ name: String(name), url: String(url) }))
    .filter(({ url }) => /^https?:\/\//.test(url));
}

async function readForm(stream: Readable): Promise<URLSearchParams> {
  let size = 0;
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_FORM_BYTES) throw new MatrixError("M_TOO_LARGE", "the form is too large");
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString());
}
