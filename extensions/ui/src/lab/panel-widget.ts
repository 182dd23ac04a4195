/** The panel as a widget of JupyterLab; its code is loaded when it is first seen. */

import { Widget } from "@lumino/widgets";
import type { Message } from "@lumino/messaging";
import type { Host } from "../host";
import type { Panel } from "../mount";
import type { Transport } from "../transport/transport";
import type { ViewId } from "../views/view";
import { panelModule } from "./panel-module";

export class PanelWidget extends Widget {
  private panel: Promise<Panel> | undefined;

  constructor(
    private readonly transport: Transport,
    private readonly host: Host,
    private readonly place: string,
  ) {
    super();
    this.addClass("cs-lab");
    this.node.tabIndex = -1;
  }

  /** Show one of the panel's views. */
  async showView(view: string): Promise<void> {
    (await this.opened()).show(view as ViewId);
  }

  override dispose(): void {
    if (!this.isDisposed) void this.panel?.then((panel) => panel.dispose(), () => undefined);
    super.dispose();
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.openSeen();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) this.openSeen();
  }

  protected override onActivateRequest(): void {
    const first = this.node.querySelector<HTMLElement>("[role=tab][aria-selected=true]");
    (first ?? this.node).focus();
  }

  /** Open it where its failure is seen. */
  private openSeen(): void {
    this.opened().catch(() => undefined);
  }

  private opened(): Promise<Panel> {
    this.panel ??= this.open().catch((thrown: unknown) => {
      this.panel = undefined;
      console.error("The panel could not be loaded:", thrown);
      this.sayNotLoaded();
      throw thrown;
    });
    return this.panel;
  }

  private async open(): Promise<Panel> {
    const { mount } = await panelModule(this.transport.server);
    this.node.replaceChildren();
    return mount(this.node, this.transport, { host: this.host, place: this.place });
  }

  /** Without the panel's code, and its controls and looks, there is only JupyterLab to say it with. */
  private sayNotLoaded(): void {
    const { translation: trans } = this.host;
    const text = document.createElement("p");
    text.setAttribute("role", "alert");
    text.textContent = trans.__(
      "The panel could not be loaded from your server. Nothing is lost; jobs go on. Check the connection, or restart the server from the hub.",
    );
    const again = document.createElement("button");
    again.className = "jp-Button jp-mod-styled jp-mod-accept";
    again.textContent = trans.__("Try again");
    again.addEventListener("click", () => this.openSeen());
    const note = document.createElement("div");
    note.style.padding = "var(--jp-ui-font-size1)";
    note.append(text, again);
    this.node.replaceChildren(note);
  }
}
