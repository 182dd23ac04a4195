/** A view that fails does not take the panel with it. */

import type { ComponentChildren } from "preact";
import { useErrorBoundary } from "preact/hooks";
import { Button } from "../design/controls";
import { Note } from "../design/feedback";
import { useTranslation } from "../i18n";

export function ErrorBoundary({ children }: { children: ComponentChildren }) {
  const trans = useTranslation();
  const [failure, reset] = useErrorBoundary((error: unknown) => console.error(error));
  if (!failure) return <>{children}</>;
  return (
    <div class="cs-pad">
      <Note
        tone="error"
        title={trans.__("This view has failed.")}
        actions={
          <Button icon="refresh" onClick={reset}>
            {trans.__("Show it again")}
          </Button>
        }
      >
        {trans.__("Your jobs go on and your search is kept. What happened: %1", String((failure as Error).message ?? failure))}
      </Note>
    </div>
  );
}
