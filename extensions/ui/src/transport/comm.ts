/**
 * The transport of a notebook cell whose page reaches no Jupyter Server, as in VS Code: requests
 * go to the kernel, which asks the server and hands back status, headers and pieces of the body.
 *
 * Messages to the kernel: `{type: "request", id, method, path, query, headers, body}` and
 * `{type: "cancel", id}`; from it: `{type: "head", id, status, headers}`, `{type: "body", id}` with a
 * buffer, `{type: "end", id}`, `{type: "failed", id, message}`, `{type: "job", event}` and
 * `{type: "away"}`. `cscale_widget.bridge` is the other end.
 *
 * A kernel that was restarted knows nothing of the requests of the one before, nor of this comm: they
 * fail. Whether it is that or only a lost connection is not told, so that the next request shows it.
 */

import { ApiProblem } from "../api/problem";
import { fetchInit, type JobEvent, type Request, type Transport } from "./transport";

/** What is needed of an anywidget model. */
export interface Comm {
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  on(event: "msg:custom", heard: (content: unknown, buffers: DataView[]) => void): void;
  on(event: "comm_live_update", heard: () => void): void;
  off(event: "msg:custom", heard: (content: unknown, buffers: DataView[]) => void): void;
}

type Message =
  | { type: "head"; id: number; status: number; headers: Record<string, string> }
  | { type: "body" | "end"; id: number }
  | { type: "failed"; id: number; message: string }
  | { type: "job"; event: JobEvent }
  | { type: "away" };

const NO_BODY = [204, 205, 304];
/** Milliseconds that a kernel in doubt has to begin its answer. */
const PATIENCE = 10_000;
const kernelEnded = () =>
  new ApiProblem(
    {
      code: "kernel_ended",
      message: "The kernel of this notebook has ended or was restarted.",
      hint: "Run the cell again: the panel opens where it was. Jobs go on.",
    },
    0,
  );

interface Pending {
  head(status: number, headers: Record<string, string>): void;
  body(piece: Uint8Array): void;
  end(): void;
  failed(reason: Error): void;
}

export function commTransport(comm: Comm, server: string): Transport {
  const pending = new Map<number, Pending>();
  const listeners = new Set<{ heard: (event: JobEvent) => void; away: () => void }>();
  let next = 1;
  let doubted = false;

  comm.on("comm_live_update", () => {
    doubted = true;
    for (const request of [...pending.values()]) request.failed(kernelEnded());
  });
  comm.on("msg:custom", (content, buffers) => {
    const message = content as Message;
    doubted = false;
    if (message.type === "job") for (const { heard } of listeners) heard(message.event);
    else if (message.type === "away") for (const { away } of listeners) away();
    else {
      const request = pending.get(message.id);
      if (message.type === "head") request?.head(message.status, message.headers);
      else if (message.type === "body") {
        const piece = buffers[0];
        if (piece) request?.body(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength).slice());
      } else if (message.type === "end") request?.end();
      else if (message.type === "failed") request?.failed(new TypeError(message.message));
    }
  });

  return {
    server,
    async send(path, request: Request = {}) {
      const { method, headers, body } = fetchInit(request);
      request.signal?.throwIfAborted();
      const buffers = body instanceof Blob ? [await body.arrayBuffer()] : [];
      const id = next++;
      return new Promise<Response>((resolve, reject) => {
        let into: ReadableStreamDefaultController<Uint8Array> | undefined;
        const patience = doubted ? setTimeout(() => fail(kernelEnded()), PATIENCE) : undefined;
        const stop = () => {
          clearTimeout(patience);
          request.signal?.removeEventListener("abort", abort);
          pending.delete(id);
        };
        const fail = (reason: unknown) => {
          stop();
          into?.error(reason);
          reject(reason);
        };
        const cancel = () => {
          stop();
          comm.send({ type: "cancel", id });
        };
        const abort = () => {
          cancel();
          fail(request.signal?.reason ?? new DOMException("Aborted", "AbortError"));
        };
        request.signal?.addEventListener("abort", abort);
        pending.set(id, {
          head(status, answered) {
            clearTimeout(patience);
            const stream = new ReadableStream<Uint8Array>({ start: (controller) => void (into = controller), cancel });
            resolve(new Response(NO_BODY.includes(status) ? null : stream, { status, headers: answered }));
          },
          body: (piece) => into?.enqueue(piece),
          end() {
            stop();
            into?.close();
          },
          failed: fail,
        });
        const query = request.query ?? {};
        const content = { type: "request", id, method, path, query, headers, body: typeof body === "string" ? body : null };
        try {
          comm.send(content, undefined, buffers);
        } catch {
          fail(kernelEnded()); // what a page says of a comm that is closed
        }
      });
    },
    listen(heard, away) {
      const listener = { heard, away };
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
