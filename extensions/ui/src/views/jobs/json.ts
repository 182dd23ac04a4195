/** JSON that a person writes. */

export interface Read {
  value: Record<string, unknown> | null;
  /** Why it is none; empty: it is. */
  problem: string;
}

/** An object from text. */
export function readObject(text: string): Read {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return { value: null, problem: "It is not an object in braces." };
    return { value: value as Record<string, unknown>, problem: "" };
  } catch (error) {
    return { value: null, problem: error instanceof Error ? error.message : String(error) };
  }
}

export function pretty(value: unknown): string {
  return JSON.stringify(value, null, 2) ?? "";
}
