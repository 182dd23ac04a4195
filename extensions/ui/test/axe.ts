/** What axe finds seriously wrong in what is shown. */

import axe from "axe-core";

export async function seriousViolations(element: Element = document.body): Promise<string[]> {
  const { violations } = await axe.run(element, {
    // No frame of jsdom answers.
    iframes: false,
    // jsdom lays nothing out, so colours cannot be judged here: the browser tests do.
    rules: { "color-contrast": { enabled: false }, region: { enabled: false } },
  });
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
}
