/** Jobs for tests. */

import type { JobSummary } from "../src/api/schema";

export function job(changes: Partial<JobSummary> = {}): JobSummary {
  return {
    id: "job-1",
    revision: 1,
    spec: { engine: "openeo", title: "Map of an index", backend: "site-a", vo: "aqua" },
    status: "finished",
    progress: null,
    message: "",
    created: "2026-01-01T00:00:00Z",
    updated: "2026-01-01T00:00:00Z",
    started: null,
    ended: null,
    phases: [],
    wanted: "",
    owner: "aqua",
    cloned_from: "",
    transferred: null,
    engine_id: "",
    ui_path: "",
    result_count: 0,
    usage: {},
    costs: null,
    error: null,
    actions: [],
    ...changes,
  };
}

export function list(...jobs: JobSummary[]) {
  return { jobs, deleted: [], revision: 1, whole: true };
}
