/** The panel as a widget of JupyterLab; its code is loaded when it is first seen. */

import { Widget } from "@lumino/widgets";
import type { Message } from "@lumino/messaging";
import type { Host } from "../host";
import type { Panel } from "../mount";
import type { Transport } from "../transport/transport";
import type { ViewId } from "../views/view";

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
    if (!this.isDisposed) void this.panel?.then((panel) => panel.dispose());
    super.dispose();
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    void this.opened();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) void this.opened();
  }

  protected override onActivateRequest(): void {
    const first = this.node.querySelector<HTMLElement>("[role=tab][aria-selected=true]");
    (first ?? this.node).focus();
  }

  private opened(): Promise<Panel> {
    this.panel ??= import("../mount").then(({ mount }) =>
      mount(this.node, this.transport, { host: this.host, place: this.place }),
    );
    return this.panel;
  }
}
