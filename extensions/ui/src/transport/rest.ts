/**
 * The transport of a page that the user's Jupyter Server made: `fetch`, and its event socket.
 *
 * JupyterLab hands in its own `fetch` and event stream; a notebook cell in another page of that
 * server uses those made here.
 */

import { API, addressOf, fetchInit, jobEvent, type JobEvent, type Request, type Transport } from "./transport";

const SHORTEST_WAIT = 1_000;
const LONGEST_WAIT = 60_000;

export interface RestOptions {
  /** Root of the server, ending with a slash. */
  baseUrl: string;
  /** Adds what the server wants to see: token, XSRF header. */
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  listen: Transport["listen"];
}

export function restTransport({ baseUrl, fetch, listen }: RestOptions): Transport {
  const base = `${baseUrl}${API}`;
  return {
    server: new URL(baseUrl, location.href).href,
    send: (path: string, request: Request = {}) => fetch(addressOf(base, path, request.query), fetchInit(request)),
    listen,
  };
}

/** What Jupyter's page says of its server; null where there is none, as in VS Code. */
export function pageServer(page: Document = document): { baseUrl: string; token: string } | null {
  const text = page.getElementById("jupyter-config-data")?.textContent;
  if (!text) return null;
  try {
    const { baseUrl, token } = JSON.parse(text) as { baseUrl?: string; token?: string };
    return baseUrl ? { baseUrl: baseUrl.endsWith("/") ? baseUrl : `${baseUrl}/`, token: token ?? "" } : null;
  } catch {
    return null;
  }
}

/** `fetch` as Jupyter Server wants it: with the token where the page has one, else the cookie's XSRF. */
export function jupyterFetch(token: string): RestOptions["fetch"] {
  return (url, init) => {
    const headers = new Headers(init.headers);
    if (token) headers.set("Authorization", `token ${token}`);
    const xsrf = /(?:^|; ?)_xsrf=([^;]*)/.exec(document.cookie)?.[1];
    if (xsrf) headers.set("X-XSRFToken", xsrf);
    return fetch(url, { ...init, headers, credentials: "same-origin", cache: "default" });
  };
}

/** Jupyter's event socket, opened again after a while when it closes. */
export function socketListener(baseUrl: string, token: string): Transport["listen"] {
  return (heard: (event: JobEvent) => void, away: () => void) => {
    const url = new URL(addressOf(baseUrl, "api/events/subscribe", { token: token || undefined }), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    let socket: WebSocket | undefined;
    let wait = SHORTEST_WAIT;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const open = () => {
      socket = new WebSocket(url);
      socket.onopen = () => {
        wait = SHORTEST_WAIT;
        away();
      };
      socket.onmessage = ({ data }) => {
        const event = jobEvent(JSON.parse(String(data)));
        if (event) heard(event);
      };
      socket.onclose = () => {
        timer = setTimeout(open, wait);
        wait = Math.min(2 * wait, LONGEST_WAIT);
      };
    };
    open();
    return () => {
      clearTimeout(timer);
      if (socket) {
        socket.onclose = null;
        socket.close();
      }
    };
  };
}
