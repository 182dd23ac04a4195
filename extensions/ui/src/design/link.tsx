/** Links to addresses that others wrote: only those that a browser can follow without harm. */

import type { ComponentChildren } from "preact";

/** The address if it is HTTP(S), else null: no `javascript:`, no `data:`, no `file:`. */
export function safeHref(address: unknown): string | null {
  if (typeof address !== "string") return null;
  try {
    const url = new URL(address);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

/** A link to elsewhere, or plain text where the address is none. */
export function OutsideLink({ address, children }: { address: unknown; children: ComponentChildren }) {
  const href = safeHref(address);
  if (!href) return <>{children}</>;
  return (
    <a class="cs-link" href={href} target="_blank" rel="noopener noreferrer">
      {children}
    </a>
  );
}
