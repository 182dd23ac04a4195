/**
 * What all panels of a page that reach the same server share: its API, what is remembered, the
 * list of jobs, and what the views hand to each other.
 */

import { apiOf, type Api } from "../api/client";
import type { Host } from "../host";
import type { Transport } from "../transport/transport";
import type { ViewId } from "../views/view";
import { hostFor } from "./hosts";
import { JobsFeed } from "./jobs";
import { Memory } from "./memory";
import { createStore, type Store } from "./store";

/** A GeoJSON geometry of an area. */
export type Area = { type: "Polygon"; coordinates: number[][][] } | { type: "MultiPolygon"; coordinates: number[][][][] };

/** A short message that goes away by itself, or when it is read. */
export interface Notice {
  id: number;
  kind: "info" | "success" | "error";
  text: string;
}

/** Items that a new job shall take. */
export interface JobInputs {
  refs: string[];
  area: Area | null;
  datetime: string;
}

/** A prefix in a bucket, empty or with a slash at its end. */
export interface Folder {
  bucket: string;
  prefix: string;
}

export interface Session {
  readonly transport: Transport;
  readonly api: Api;
  readonly host: Host;
  readonly memory: Memory;
  readonly jobs: JobsFeed;
  /** Where to search and to compute. */
  readonly area: Store<Area | null>;
  /** When: an interval as STAC has it, `a/b`, an end open as `..`; empty: any time. */
  readonly datetime: Store<string>;
  /** References of the items that are selected. */
  readonly selection: Store<readonly string[]>;
  /** What the Catalogue view hands to a new job; the Jobs view takes it and sets null. */
  readonly jobInputs: Store<JobInputs | null>;
  /** A folder of the object store that was staged to; the Storage view takes it and sets null. */
  readonly folder: Store<Folder | null>;
  readonly notices: Store<readonly Notice[]>;
  /** Which view every panel of the page shall show; each takes it once. */
  readonly wanted: Store<{ view: ViewId; turn: number } | null>;
  /** Show a view, such as that of a job that was just started. */
  goTo(view: ViewId): void;
  /** Things of one view that last as long as the session, such as its search under way. */
  part<T>(name: string, make: (session: Session) => T): T;
  /** Tell something in a line. */
  say(text: string, kind?: Notice["kind"]): void;
}

const SESSIONS = Symbol.for("cscale.sessions.1");

type Sessions = Map<string, Promise<Session>>;

/** The session of a server in this page; the first panel that asks for it makes it. */
export function sessionFor(transport: Transport, host: Host): Promise<Session> {
  const page = globalThis as { [SESSIONS]?: Sessions };
  const sessions = (page[SESSIONS] ??= new Map());
  let session = sessions.get(transport.server);
  if (!session) {
    session = createSession(transport, hostFor(transport.server, host));
    sessions.set(transport.server, session);
  }
  return session;
}

/** A session of its own. */
export async function createSession(transport: Transport, host: Host): Promise<Session> {
  const api = apiOf(transport);
  const memory = new Memory(host.keeper);
  await memory.recall();
  const parts = new Map<string, unknown>();
  const notices = createStore<readonly Notice[]>([]);
  let counted = 0;
  const session: Session = {
    transport,
    api,
    host,
    memory,
    jobs: new JobsFeed(api, transport),
    area: memory.store<Area | null>("area", null, isArea),
    datetime: memory.store("datetime", "", isText),
    selection: memory.store<readonly string[]>("selection", [], isTexts),
    jobInputs: createStore<JobInputs | null>(null),
    folder: createStore<Folder | null>(null),
    notices,
    wanted: createStore<{ view: ViewId; turn: number } | null>(null),
    goTo(view) {
      session.wanted.set((before) => ({ view, turn: (before?.turn ?? 0) + 1 }));
    },
    part<T>(name: string, make: (session: Session) => T): T {
      if (!parts.has(name)) parts.set(name, make(session));
      return parts.get(name) as T;
    },
    say(text, kind = "info") {
      notices.set((before) => [...before.slice(-3), { id: ++counted, kind, text }]);
    },
  };
  return session;
}

export function isText(value: unknown): value is string {
  return typeof value === "string";
}

export function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isText);
}

export function isArea(value: unknown): value is Area | null {
  if (value === null) return true;
  if (typeof value !== "object") return false;
  const { type, coordinates } = value as { type?: unknown; coordinates?: unknown };
  return (type === "Polygon" || type === "MultiPolygon") && Array.isArray(coordinates);
}
