import { expect, it } from "vitest";
import { panelAddress } from "../src/lab/panel-module";

const SERVER = "https://hub.example/user/aqua/";

it("is below the user's server, and kept by browsers while it is the same", () => {
  expect(panelAddress(SERVER, "0123", 0)).toBe("https://hub.example/user/aqua/static/cscale/panel.js?v=0123");
  expect(panelAddress(SERVER, "", 0)).toBe("https://hub.example/user/aqua/static/cscale/panel.js");
});

it("has another address for every further try", () => {
  expect(panelAddress(SERVER, "0123", 2)).toContain("v=0123&again=2");
});
