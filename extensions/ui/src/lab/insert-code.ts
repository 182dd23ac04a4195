/** Puts code into the notebook that is open; inserted again, it takes the place of its own cell. */

import type { JupyterFrontEnd } from "@jupyterlab/application";
import { NotebookActions, type INotebookTracker, type NotebookPanel } from "@jupyterlab/notebook";
import type { CodeCell } from "../host";

const MEMBER = "cscale";

export function codeInserter(app: JupyterFrontEnd, notebooks: INotebookTracker) {
  return async ({ key, code }: CodeCell): Promise<void> => {
    let notebook = notebooks.currentWidget;
    if (!notebook) {
      notebook = (await app.commands.execute("notebook:create-new", { activate: true })) as NotebookPanel;
    }
    await notebook.context.ready;
    await notebook.revealed;
    const { content } = notebook;
    const own = content.widgets.findIndex(({ model }) => {
      const mark = model.getMetadata(MEMBER) as { key?: unknown } | undefined;
      return model.type === "code" && mark?.key === key;
    });
    if (own >= 0) {
      content.activeCellIndex = own;
    } else if (content.activeCell?.model.type === "code" && !content.activeCell.model.sharedModel.getSource().trim()) {
      // An empty cell is there to be filled.
    } else {
      NotebookActions.insertBelow(content);
      NotebookActions.changeCellType(content, "code");
    }
    const cell = content.activeCell;
    if (!cell) return;
    cell.model.sharedModel.setSource(code);
    cell.model.setMetadata(MEMBER, { key });
    app.shell.activateById(notebook.id);
    await content.scrollToCell(cell);
  };
}
