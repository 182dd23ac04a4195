/**
 * The panel in JupyterLab: a view in the left side bar and one in the main area, a card in the
 * launcher, commands, settings, searches that are followed by a link, and word of jobs that have ended. Notebook 7, whose main area is one
 * document, has the side bar; Voila, which loads this, too, has only the panels of its cells.
 *
 * What is here is loaded when JupyterLab starts, so it is small; the panel itself follows when it
 * is first shown.
 */

import { ILabShell, ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette, MainAreaWidget, WidgetTracker } from "@jupyterlab/apputils";
import { ILauncher } from "@jupyterlab/launcher";
import { INotebookTracker } from "@jupyterlab/notebook";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import { IStateDB } from "@jupyterlab/statedb";
import { ITranslator, nullTranslator } from "@jupyterlab/translation";
import { DEFAULT_PREFERENCES, type Host } from "../host";
import { browserKeeper, type Keeper } from "../state/memory";
import { offerHost } from "../state/hosts";
import { createStore } from "../state/store";
import type { Transport } from "../transport/transport";
import { tellEndedJobs } from "./ended-jobs";
import { panelIcon } from "./icon";
import { codeInserter } from "./insert-code";
import { panelModule } from "./panel-module";
import { PanelWidget } from "./panel-widget";
import { readPreferences } from "./preferences";
import { searchAddress, takeSearch } from "./search-address";
import { labTransport } from "./transport";

const PLUGIN = "cscale-panel:panel";
// Not in the tracker's namespace: what restores a tracker removes what is no widget of it.
const STATE = "cscale:state";

/** Names of commands; `cscale:open` takes `{view}`. */
const OPEN = "cscale:open";
const OPEN_SIDE = "cscale:open-side-panel";

function keeperOf(state: IStateDB): Keeper {
  return {
    load: async () => ((await state.fetch(STATE)) ?? {}) as Record<string, unknown>,
    save: async (kept) => void (await state.save(STATE, kept as never)),
  };
}

/** Opens files and folders of the server, where the application can. */
function pathOpener({ commands }: JupyterFrontEnd): Host["openPath"] {
  const command = ["filebrowser:open-path", "docmanager:open"].find((name) => commands.hasCommand(name));
  return command ? async (path) => void (await commands.execute(command, { path })) : null;
}

function activate(
  app: JupyterFrontEnd,
  palette: ICommandPalette | null,
  launcher: ILauncher | null,
  notebooks: INotebookTracker | null,
  settings: ISettingRegistry | null,
  state: IStateDB | null,
  translator: ITranslator | null,
  restorer: ILayoutRestorer | null,
  labShell: ILabShell | null,
): void {
  // Voila's page: nothing here would be seen, and jobs that ended would be told to nobody.
  if (!state) return;
  const trans = (translator ?? nullTranslator).load("cscale_panel");
  const preferences = createStore(DEFAULT_PREFERENCES);
  const transport = labTransport(app.serviceManager);
  const host: Host = {
    translation: trans,
    // The state of Notebook 7 ends with the page.
    keeper: labShell ? keeperOf(state) : browserKeeper(transport.server),
    preferences,
    insertCode: notebooks ? codeInserter(app, notebooks) : null,
    searchLink: labShell ? searchAddress : null,
    get openPath() {
      return pathOpener(app); // its commands come with plugins that may be activated after this
    },
    notify: null, // ended jobs are told below, whether a panel is open or not
  };
  offerHost(transport.server, host);
  if (settings) {
    void settings.load(PLUGIN).then((loaded) => {
      const read = () => preferences.set(readPreferences(loaded.composite));
      loaded.changed.connect(read);
      read();
    });
  }

  const side = new PanelWidget(transport, host, "side");
  side.id = "cscale-side-panel";
  side.title.icon = panelIcon;
  side.title.caption = trans.__("C-SCALE: search, stage, compute, watch and see");
  app.shell.add(side, "left", { rank: 300, type: "C-SCALE" });
  restorer?.add(side, "cscale-side-panel");
  const openSide = () => app.shell.activateById(side.id);

  const tracker = new WidgetTracker<MainAreaWidget<PanelWidget>>({ namespace: "cscale-panel" });
  app.commands.addCommand(OPEN, {
    label: ({ view }) => (view ? trans.__("C-SCALE: %1", String(view)) : trans.__("C-SCALE panel")),
    caption: trans.__("Search, stage, compute, watch and see, in one place"),
    icon: panelIcon,
    describedBy: {
      args: { type: "object", properties: { view: { type: "string", description: "The view that is shown." } } },
    },
    execute: async ({ view }) => {
      if (!labShell) {
        openSide();
        if (typeof view === "string") await side.showView(view);
        return side;
      }
      let widget = tracker.currentWidget;
      if (!widget || widget.isDisposed) {
        const content = new PanelWidget(transport, host, "main");
        widget = new MainAreaWidget({ content });
        widget.id = "cscale-panel";
        widget.toolbar.hide();
        widget.title.label = trans.__("C-SCALE");
        widget.title.icon = panelIcon;
        widget.title.closable = true;
      }
      if (!tracker.has(widget)) await tracker.add(widget);
      if (!widget.isAttached) app.shell.add(widget, "main", { type: "C-SCALE" });
      app.shell.activateById(widget.id);
      if (typeof view === "string") await widget.content.showView(view);
      return widget;
    },
  });
  app.commands.addCommand(OPEN_SIDE, {
    label: trans.__("C-SCALE in the side bar"),
    icon: panelIcon,
    describedBy: { args: { type: "object", properties: {} } },
    execute: openSide,
  });
  for (const command of [OPEN, OPEN_SIDE]) palette?.addItem({ command, category: "C-SCALE" });
  launcher?.add({ command: OPEN, category: trans.__("C-SCALE"), rank: 0 });
  void restorer?.restore(tracker, { command: OPEN, name: () => "main" });

  const search = labShell && takeSearch();
  if (search) {
    void app.restored.then(async () => {
      await app.commands.execute(OPEN, { view: "catalogue" });
      const { sessionFor, openSearch } = await panelModule(transport.server);
      openSearch(await sessionFor(transport, host), search);
    });
  }
  tellEndedJobs(transport, trans, (job) => {
    void app.commands.execute(OPEN, { view: "jobs" });
    if (job) void showJob(transport, host, job);
  });
}

/** Open a job's details; the panel's code is loaded when it is first wanted. */
async function showJob(transport: Transport, host: Host, job: string): Promise<void> {
  const { sessionFor, openJob } = await panelModule(transport.server);
  openJob(await sessionFor(transport, host), job);
}

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN,
  description: "Search, stage, compute, watch and see, in one place.",
  autoStart: true,
  optional: [
    ICommandPalette,
    ILauncher,
    INotebookTracker,
    ISettingRegistry,
    IStateDB,
    ITranslator,
    ILayoutRestorer,
    ILabShell,
  ],
  activate,
};

export default plugin;
