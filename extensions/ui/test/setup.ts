/** What jsdom lacks, and cleaning up after each test. */

import { cleanup } from "@testing-library/preact";
import { afterEach, vi } from "vitest";

vi.mock("generated:styles", () => ({ default: "" }));
vi.mock("generated:basemap", () => ({ PER_DEGREE: 100, LAND: "", BORDERS: "", COUNTRIES: [["Slovenia", 13.4, 45.4, 16.6, 46.9]] }));

class NoResizes {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}
globalThis.ResizeObserver ??= NoResizes as typeof ResizeObserver;
URL.createObjectURL ??= () => "blob:picture";
URL.revokeObjectURL ??= () => undefined;
HTMLDialogElement.prototype.showModal ??= function (this: HTMLDialogElement) {
  this.open = true;
};
HTMLDialogElement.prototype.close ??= function (this: HTMLDialogElement) {
  this.open = false;
};
Element.prototype.scrollIntoView ??= () => undefined;
globalThis.CSS ??= { escape: (text: string) => text } as typeof CSS;

afterEach(() => {
  cleanup();
  localStorage.clear();
});
