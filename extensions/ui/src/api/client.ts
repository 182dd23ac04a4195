/**
 * Calls of the REST API, typed by `openapi.yaml`: `api.get("/catalog/items/{ref}", {path: {ref}})`.
 */

import type { Request, Transport } from "../transport/transport";
import { asProblem, isAbort, problemOf } from "./problem";
import type { paths } from "./schema";

type Verb = "get" | "post" | "put" | "patch" | "delete";
type Operation<P extends keyof paths, V extends Verb> = paths[P] extends Record<V, infer O> ? O : never;

/** The paths that have a verb. */
export type PathsOf<V extends Verb> = {
  [P in keyof paths]: paths[P] extends Record<V, { responses: unknown }> ? P : never;
}[keyof paths];

type Json<R> = R extends { content: { "application/json": infer T } } ? T : void;

/** What an operation answers when all is well. */
export type Answer<P extends keyof paths, V extends Verb> =
  Operation<P, V> extends { responses: infer R }
    ? Json<R[keyof R & (200 | 201 | 202 | 204)]>
    : never;

type Body<O> = O extends { requestBody: { content: { "application/json": infer B } } } ? { body: Partial<B> } : { body?: unknown };
type InPath<T> = T extends { parameters: { path: infer P extends object } } ? { path: P } : { path?: undefined };

/** What a call takes: parameters of the path, the query, and the body. */
export type Options<P extends keyof paths, V extends Verb> = InPath<paths[P]> &
  Body<Operation<P, V>> &
  Pick<Request, "query" | "headers" | "signal" | "accept">;

type Call<V extends Verb> = <P extends PathsOf<V>>(path: P, options: Options<P, V>) => Promise<Answer<P, V>>;

export interface Api {
  get: Call<"get">;
  post: Call<"post">;
  put: Call<"put">;
  patch: Call<"patch">;
  delete: Call<"delete">;
  /** The answer itself, for streams and pictures. Never one that is not good. */
  raw(path: string, request?: Request): Promise<Response>;
}

/** The path of a route with its parameters, without the slash before it. */
export function filled(path: string, parameters: Record<string, unknown> = {}): string {
  return path.slice(1).replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(parameters[name])));
}

export function apiOf(transport: Transport): Api {
  const raw = async (path: string, request: Request = {}): Promise<Response> => {
    let response: Response;
    try {
      response = await transport.send(path, request);
    } catch (thrown) {
      throw isAbort(thrown) ? thrown : asProblem(thrown);
    }
    if (!response.ok) throw await problemOf(response);
    return response;
  };
  const call =
    (method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE") =>
    async (path: string, options: Request & { path?: object }): Promise<unknown> => {
      const { path: parameters, ...request } = options;
      const response = await raw(filled(path, { ...parameters }), { ...request, method });
      return response.status === 204 ? undefined : response.json();
    };
  return {
    get: call("GET"),
    post: call("POST"),
    put: call("PUT"),
    patch: call("PATCH"),
    delete: call("DELETE"),
    raw,
  } as Api;
}

/** The lines of a streamed answer, each parsed as soon as it is whole. */
export async function* linesOf<T>(response: Response): AsyncGenerator<T> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line) yield JSON.parse(line) as T;
    }
    if (rest) yield JSON.parse(rest) as T;
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}
