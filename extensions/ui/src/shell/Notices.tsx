/** Lines that are said and go away: a screen reader reads them, a click closes them. */

import { useEffect } from "preact/hooks";
import { IconButton } from "../design/controls";
import { Icon } from "../design/icons";
import { useTranslation } from "../i18n";
import { useSession, useStore } from "../state/hooks";
import type { Notice } from "../state/session";

const SHOWN_FOR = 7_000;

export function Notices() {
  const { notices } = useSession();
  const shown = useStore(notices);
  return (
    <div class="cs-notices" aria-live="polite">
      {shown.map((notice) => (
        <Line key={notice.id} notice={notice} />
      ))}
    </div>
  );
}

function Line({ notice }: { notice: Notice }) {
  const trans = useTranslation();
  const { notices } = useSession();
  const close = () => notices.set((before) => before.filter(({ id }) => id !== notice.id));
  useEffect(() => {
    if (notice.kind === "error") return; // stays until it is read
    const timer = setTimeout(close, SHOWN_FOR);
    return () => clearTimeout(timer);
  }, [notice.id]);
  return (
    <div class={`cs-notice cs-notice-${notice.kind}`}>
      <Icon name={notice.kind === "error" ? "warning" : notice.kind === "success" ? "check" : "info"} />
      <span>{notice.text}</span>
      <IconButton icon="close" label={trans.__("Close this message")} onClick={close} />
    </div>
  );
}
