/** The small picture of a shared notebook, where it has one. */

import { useEffect, useState } from "preact/hooks";
import { filled } from "../../api/client";
import type { Entry } from "../../api/schema";
import { Icon } from "../../design/icons";
import { useSession } from "../../state/hooks";

export function NotebookPicture({ entry: { ref, version, picture } }: { entry: Entry }) {
  const { api } = useSession();
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (!picture) return;
    const control = new AbortController();
    let made = "";
    api.raw(filled("/shared/notebooks/{notebook}/picture", { notebook: ref }), { query: { version }, accept: "image/png", signal: control.signal }).then(
      async (response) => {
        made = URL.createObjectURL(await response.blob());
        if (control.signal.aborted) URL.revokeObjectURL(made);
        else setUrl(made);
      },
      () => undefined, // no picture is shown where none can be had
    );
    return () => {
      control.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [ref, version, picture]);
  return <span class="cs-leaf-picture">{url ? <img src={url} alt="" onError={() => setUrl(null)} /> : <Icon name="code" size={32} />}</span>;
}
