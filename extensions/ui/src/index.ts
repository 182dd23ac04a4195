/** What the panel is to those who mount it. */

export { mount, type MountOptions, type Panel } from "./mount";
export type { CodeCell, Host, Preferences } from "./host";
export { DEFAULT_PREFERENCES } from "./host";
export type { Transport, Request, JobEvent } from "./transport/transport";
export type { Session } from "./state/session";
