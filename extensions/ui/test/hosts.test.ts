import { expect, it } from "vitest";
import { offerHost } from "../src/state/hosts";
import { sessionFor } from "../src/state/session";
import { FakeServer } from "./fake-server";
import { fakeHost } from "./render";

it("gives a cell what JupyterLab offers, and one session to all panels of a server", async () => {
  const server = new FakeServer();
  const lab = fakeHost({ insertCode: async () => undefined });
  offerHost(server.server, lab);
  const cell = await sessionFor(server, fakeHost());
  expect(cell.host).toBe(lab);
  expect(await sessionFor(server, lab)).toBe(cell);
  expect(await sessionFor(new FakeServer(), lab)).not.toBe(cell);
});
