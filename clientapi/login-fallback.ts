/** Login in a browser, for clients that know no login type: https://spec.matrix.org/v1.19/client-server-api/#login-fallback */
import { type Route, route } from "../server/route.ts";
import { html, page } from "./html.ts";

/** Parameters of the page that are passed on; credentials are not among them. */
const SCRIPT = `
const form = document.querySelector("form");
const problem = document.querySelector(".problem");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const request = {
    type: "m.login.password",
    identifier: { type: "m.id.user", user: form.elements.user.value },
    password: form.elements.password.value,
  };
  const query = new URLSearchParams(location.search);
  for (const name of ["device_id", "initial_device_display_name"]) {
    if (query.has(name)) request[name] = query.get(name);
  }
  if (query.has("refresh_token")) request.refresh_token = query.get("refresh_token") === "true";
  problem.textContent = "";
  try {
    const response = await fetch("/_matrix/client/v3/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    const answer = await response.json();
    if (!response.ok) {
      problem.textContent = answer.error || "That did not work";
    } else if (window.matrixLogin && window.matrixLogin.onLogin) {
      window.matrixLogin.onLogin(answer);
    } else {
      problem.textContent = "You are logged in, but no app is waiting for it";
    }
  } catch {
    problem.textContent = "The server cannot be reached";
  }
});`;

export function loginFallback(): Route[] {
  return [
    route({
      method: "GET",
      path: "/_matrix/static/client/login/",
      aliases: ["/_matrix/static/client/login"],
      access: "public",
      async handle() {
        return page({
          title: "Log in",
          body: html`
            <p class="problem" role="alert"></p>
            <form method="post">
              <label>User name <input name="user" autocomplete="username" required /></label>
              <label>
                Password
                <input name="password" type="password" autocomplete="current-password" required />
              </label>
              <button>Log in</button>
            </form>
          `,
          script: SCRIPT,
        });
      },
    }),
  ];
}
