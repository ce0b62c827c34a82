/** What a browser shows at the server's own address: that it works, and what to do next. */
import { type Route, route } from "../server/route.ts";
import { type Html, html, page } from "./html.ts";

export interface LandingPageOptions {
  serverName: string;
  publicBaseUrl: string;
  registration: "closed" | "by token" | "open";
}

export function landingPage(options: LandingPageOptions): Route[] {
  const { serverName, publicBaseUrl } = options;
  const address = publicBaseUrl.replace(/\/$/, "");
  return [
    route({
      method: "GET",
      path: "/",
      access: "public",
      async handle() {
        return page({
          title: "It works",
          body: html`<p>
              This is the Matrix homeserver of <b>${serverName}</b>, running
              <a href="https://matrix.org/docs/chat_basics/matrix-for-im/">Gomin</a>.
            </p>
            <h2>Make an account</h2>
            ${accounts(options)}
            <h2>Connect a client</h2>
            <p>
              Take any <a href="https://matrix.org/ecosystem/clients/">Matrix client</a>, choose
              “other homeserver” or “edit” where it asks for one, and enter <code>${address}</code>.
            </p>
            <p>Your user ID will look like <code>@alice:${serverName}</code>.</p>`,
        });
      },
    }),
  ];
}

function accounts({ registration }: LandingPageOptions): Html {
  if (registration === "open") {
    return html`<p>Anybody may: choose “create account” in your client.</p>`;
  }
  const command = html`<p>
    Whoever runs the server can make one on its machine: <code>npx gomin user create alice</code>
  </p>`;
  if (registration === "closed") return command;
  return html`<p>
      Choose “create account” in your client. It asks for a registration token: the server printed
      one when it first started, and <code>npx gomin token create</code> makes more.
    </p>
    ${command}`;
}
