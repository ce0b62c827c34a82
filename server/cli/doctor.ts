/** `gomin doctor`: looks at all that a homeserver depends on, and says what to do where something is amiss. */
import type { Command, Invocation } from "./command.ts";
import { type Check, checks, type Finding } from "./doctor-checks.ts";

const MARKS: Readonly<Record<Finding["status"], string>> = {
  ok: "ok     ",
  skipped: "skipped",
  warning: "WARNING",
  failed: "FAILED ",
};
/** No check takes longer, in ms. */
const TIMEOUT_MS = 20_000;

export const doctorCommand: Command = {
  name: "doctor",
  summary: "Check database, disk, clock, ports, discovery and federation",
  details: "Changes nothing. Exits with 1 if anything failed.",
  async run(invocation) {
    const { config, file } = invocation.loadConfig();
    const findings: (Finding & { check: string })[] = [];
    for (const check of checks) {
      if (invocation.options["json"] !== true) invocation.terminal.err(`… ${check.name}\r`);
      findings.push({ check: check.name, ...(await examine(check, { config, file })) });
    }
    const isGood = findings.every(({ status }) => status !== "failed");
    invocation.result({ ok: isGood, findings }, describe(invocation, findings));
    return isGood ? 0 : 1;
  },
};

async function examine(check: Check, subject: Parameters<Check["run"]>[0]): Promise<Finding> {
  const { promise: late, resolve } = Promise.withResolvers<Finding>();
  const timer = setTimeout(
    () => resolve({ status: "failed", message: "did not come to an end" }),
    TIMEOUT_MS,
  );
  try {
    return await Promise.race([check.run(subject), late]);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const cause =
      error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
    return { status: "failed", message: `${message}${cause}` };
  } finally {
    clearTimeout(timer);
  }
}

function describe(
  { ports }: Invocation,
  findings: readonly (Finding & { check: string })[],
): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.map(({ check, status, message, advice }) => {
    const what = `${MARKS[status]}  ${check.padEnd(width)}  ${message}`;
    return advice === undefined ? what : `${what}\n${" ".repeat(width + 11)}→ ${advice}`;
  });
  const failed = findings.filter(({ status }) => status === "failed").length;
  const verdict = failed === 0 ? "All is well." : `${failed} of ${findings.length} checks failed.`;
  return [`Gomin ${ports.version}, Node ${process.version}`, ...lines, verdict].join("\n");
}
