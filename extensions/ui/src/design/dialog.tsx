/** A window over the panel; the browser keeps the focus in it, Escape closes it. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useTranslation } from "../i18n";
import { IconButton } from "./controls";
import { usePageId } from "./page-id";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  actions?: ComponentChildren;
}

export function Dialog({ title, onClose, children, actions }: DialogProps) {
  const trans = useTranslation();
  const heading = usePageId();
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      class="cs-dialog"
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => event.target === event.currentTarget && onClose()}
      // JupyterLab's shortcuts are not meant while somebody writes here.
      onKeyDown={(event) => event.stopPropagation()}
    >
      <div class="cs-dialog-frame">
        <header class="cs-dialog-head">
          <h2 id={heading}>{title}</h2>
          <IconButton icon="close" label={trans.__("Close")} onClick={onClose} />
        </header>
        <div class="cs-dialog-body">{children}</div>
        {actions && <footer class="cs-actions cs-dialog-foot">{actions}</footer>}
      </div>
    </dialog>
  );
}
