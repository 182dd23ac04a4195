/**
 * The panel as one module. A notebook cell is given its text, and shows what it has as default (an
 * anywidget); JupyterLab loads it from the user's server when the panel is first shown.
 */

export { mount, type MountOptions, type Panel } from "./mount";
export { sessionFor, type Session } from "./state/session";
export { openSearch } from "./views/catalogue/search-link";
export { openJob } from "./views/jobs/ui-state";
export { default } from "./widget";
