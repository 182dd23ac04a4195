import { describe, expect, it } from "vitest";
import { browserKeeper, Memory } from "../src/state/memory";
import { isText } from "../src/state/session";

describe("what survives a reload", () => {
  it("is there again", async () => {
    const before = new Memory(browserKeeper("a"));
    await before.recall();
    before.store("word", "", isText).set("kept");
    await before.flush();
    const after = new Memory(browserKeeper("a"));
    await after.recall();
    expect(after.store("word", "", isText).get()).toBe("kept");
  });
  it("forgets what does not fit, and keeps what it does not know", async () => {
    localStorage.setItem("cscale:b", JSON.stringify({ word: 7, other: "x" }));
    const memory = new Memory(browserKeeper("b"));
    await memory.recall();
    expect(memory.store("word", "none", isText).get()).toBe("none");
    await memory.flush();
    expect(JSON.parse(localStorage.getItem("cscale:b") ?? "")).toEqual({ word: "none", other: "x" });
  });
  it("starts empty from what cannot be read", async () => {
    localStorage.setItem("cscale:c", "{broken");
    const memory = new Memory(browserKeeper("c"));
    await memory.recall();
    expect(memory.store("word", "none", isText).get()).toBe("none");
  });
});
