/**
 * How the panel reaches the REST API: the one thing that differs between JupyterLab, a notebook
 * cell and a test.
 */

/** A request to a path below `cscale/api/v1`, such as `catalog/search`. */
export interface Request {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  query?: Record<string, string | number | boolean | null | undefined>;
  headers?: Record<string, string>;
  /** Sent as it is when it is a Blob, else as JSON. */
  body?: unknown;
  /** Media type that is wanted; JSON where nothing is said. */
  accept?: string;
  signal?: AbortSignal;
}

/** A job changed or was deleted; see `event_schemas/job/v1.yaml`. */
export interface JobEvent {
  id: string;
  revision: number;
  status: string;
  progress: number | null;
  message: string;
}

export interface Transport {
  /** Names the server: panels of one page that reach the same one share their state. */
  readonly server: string;

  /**
   * The answer, whatever its status. Its body can be read while it still arrives.
   *
   * @throws TypeError when the server cannot be reached.
   * @throws DOMException `AbortError` when the signal says so.
   */
  send(path: string, request?: Request): Promise<Response>;

  /**
   * Hear of jobs that change. Events are not replayed: `away` is called when some may have been
   * missed. Returns how to stop.
   */
  listen(heard: (event: JobEvent) => void, away: () => void): () => void;
}

/** The address of a request below a base address that ends with a slash. */
export function addressOf(base: string, path: string, query: Request["query"] = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `${base}${path}${text ? `?${text}` : ""}`;
}

/** What `fetch` is given for a request. */
export function fetchInit({ method, headers, body, accept, signal }: Request): RequestInit {
  const raw = body instanceof Blob;
  return {
    method: method ?? "GET",
    headers: {
      Accept: accept ?? "application/json",
      ...(body !== undefined && !raw ? { "Content-Type": "application/json" } : {}),
      ...headers,
    },
    body: body === undefined ? null : raw ? body : JSON.stringify(body),
    signal: signal ?? null,
  };
}

export const API = "cscale/api/v1/";
export const JOB_SCHEMA = "https://schema.c-scale.eu/cscale/job/v1";

/** The job event in a message of Jupyter's event stream, if it is one. */
export function jobEvent(message: unknown): JobEvent | null {
  const event = message as Partial<JobEvent> & { schema_id?: string };
  return event.schema_id === JOB_SCHEMA && typeof event.id === "string" ? (event as JobEvent) : null;
}
