/** What went wrong with a request, in words for people. */

import type { Problem } from "./schema";

/** A request that was refused or got no answer. */
export class ApiProblem extends Error {
  readonly code: string;
  readonly hint: string;
  readonly retryable: boolean;
  readonly requestId: string;
  readonly status: number;
  readonly details: Record<string, unknown>;

  constructor(problem: Partial<Problem> & { message: string }, status: number) {
    super(problem.message);
    this.name = "ApiProblem";
    this.code = problem.code ?? "unknown";
    this.hint = problem.hint ?? "";
    this.retryable = problem.retryable ?? false;
    this.requestId = problem.request_id ?? "";
    this.status = status;
    this.details = problem.details ?? {};
  }
}

/** The problem in an answer whose status is not good. */
export async function problemOf(response: Response): Promise<ApiProblem> {
  const { status } = response;
  try {
    const body = (await response.json()) as Partial<Problem>;
    if (typeof body.message === "string" && body.message) {
      return new ApiProblem({ ...body, message: body.message }, status);
    }
  } catch {
    // A proxy between here and the server answered with a page of its own.
  }
  const gone = status === 502 || status === 503 || status === 504;
  return new ApiProblem(
    {
      code: gone ? "server_away" : "unexpected_answer",
      message: gone ? "Your server does not answer." : `The server answered with status ${status}.`,
      hint: gone ? "It may have been stopped after a while without use. Start it from the hub and try again." : "",
      retryable: gone,
    },
    status,
  );
}

/** Anything that was thrown, as a problem. */
export function asProblem(thrown: unknown): ApiProblem {
  if (thrown instanceof ApiProblem) return thrown;
  if (thrown instanceof TypeError) {
    return new ApiProblem(
      {
        code: "offline",
        message: "Your server cannot be reached.",
        hint: "Check the connection of this computer, then try again. Nothing is lost.",
        retryable: true,
      },
      0,
    );
  }
  return new ApiProblem({ message: thrown instanceof Error ? thrown.message : String(thrown) }, 0);
}

export function isAbort(thrown: unknown): boolean {
  return thrown instanceof DOMException && thrown.name === "AbortError";
}
