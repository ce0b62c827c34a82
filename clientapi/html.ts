/** Pages for browsers: escaped by construction, and closed to all that they do not bring themselves. */
import { randomBytes } from "node:crypto";
import { Reply } from "../server/route.ts";

/** HTML that is safe to put into a page. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Writes HTML; whatever is put into it is escaped, unless it is HTML itself. */
export function html(strings: TemplateStringsArray, ...values: (string | Html | Html[])[]): Html {
  return new Html(
    strings.reduce((text, part, i) => {
      const value = values[i - 1] ?? "";
      return text + toText(value) + part;
    }),
  );
}

function toText(value: string | Html | Html[]): string {
  if (typeof value === "string") return escape(value);
  return Array.isArray(value) ? value.map(({ text }) => text).join("") : value.text;
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"'`]/g, (c) => `&#${c.charCodeAt(0)};`);
}

const STYLE = `
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 24rem; margin: 4rem auto; padding: 0 1rem;
  color: #1b1d22; background: #fff }
h1 { font-size: 1.4rem } label { display: block; margin: 1rem 0 }
input { display: block; width: 100%; box-sizing: border-box; font: inherit; padding: .5rem;
  border: 1px solid #8d97a5; border-radius: .5rem }
button { font: inherit; padding: .5rem 1.5rem; border: 0; border-radius: .5rem; color: #fff;
  background: #0b5c44; cursor: pointer }
.problem { color: #a3190f }
@media (prefers-color-scheme: dark) { body { color: #ebeef2; background: #14161b }
  input { color: inherit; background: #1d1f24 } .problem { color: #ff8a80 } }
`;

/**
 * A page that nobody can frame, and that runs only its own script.
 *
 * @param script JavaScript that holds nothing a stranger may choose
 */
export function page({
  title,
  body,
  script = "",
  status = 200,
}: {
  title: string;
  body: Html;
  script?: string;
  status?: number;
}): Reply {
  const nonce = randomBytes(16).toString("base64");
  const { text } = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title}</title>
        <style nonce="${nonce}">
          ${new Html(STYLE)}
        </style>
      </head>
      <body>
        <h1>${title}</h1>
        ${body}
        ${
          script === ""
            ? ""
            : html`<script nonce="${nonce}">
                ${new Html(script)};
              </script>`
        }
      </body>
    </html>`;
  return new Reply(Buffer.from(text), {
    status,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy":
        `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; ` +
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
      "x-frame-options": "DENY",
      "referrer-policy": "no-referrer",
    },
  });
}
