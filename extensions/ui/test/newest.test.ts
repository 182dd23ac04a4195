import { expect, it, vi } from "vitest";
import { throughNewest } from "../src/transport/newest";
import type { Transport } from "../src/transport/transport";

function kernel(server: string, name: string) {
  const heard = new Set<() => void>();
  const transport: Transport = {
    server,
    send: async () => new Response(name),
    listen(each) {
      const tell = () => each({ id: name, revision: 1, status: "running", progress: null, message: "" });
      heard.add(tell);
      return () => void heard.delete(tell);
    },
  };
  return { transport, tell: () => heard.forEach((tell) => tell()) };
}

const text = async (transport: Transport) => (await transport.send("x")).text();

it("asks through the kernel of the cell that was run last", async () => {
  const [before, after] = [kernel("kernel:a", "before"), kernel("kernel:a", "after")];
  const shared = throughNewest(before.transport);
  const [heard, away] = [vi.fn(), vi.fn()];
  const stop = shared.listen(heard, away);
  expect(await text(shared)).toBe("before");
  expect(throughNewest(after.transport)).toBe(shared);
  expect(await text(shared)).toBe("after");
  // Listeners follow, and look for what they have missed.
  expect(away).toHaveBeenCalledOnce();
  before.tell();
  expect(heard).not.toHaveBeenCalled();
  after.tell();
  expect(heard).toHaveBeenCalledWith(expect.objectContaining({ id: "after" }));
  stop();
  after.tell();
  expect(heard).toHaveBeenCalledOnce();
});

it("keeps servers apart", async () => {
  const [one, other] = [kernel("kernel:b", "one"), kernel("kernel:c", "other")];
  const [first, second] = [throughNewest(one.transport), throughNewest(other.transport)];
  expect([await text(first), await text(second)]).toEqual(["one", "other"]);
});
