/** The small picture of an item; where there is none, that is said by nothing but its absence. */

import { useEffect, useState } from "preact/hooks";
import { filled } from "../../api/client";
import { Icon } from "../../design/icons";
import { useSession } from "../../state/hooks";
import type { Session } from "../../state/session";

const MOST_KEPT = 300;
const AT_ONCE = 6;

/** Fetches pictures, those asked for last first, and keeps the last ones as object URLs. */
class Pictures {
  private readonly kept = new Map<string, string | null>();
  private readonly waiting: { ref: string; control: AbortController; done: (url: string | null) => void }[] = [];
  private running = 0;

  constructor(private readonly session: Session) {}

  known(ref: string): string | null | undefined {
    return this.kept.get(ref);
  }

  get(ref: string, done: (url: string | null) => void): () => void {
    const control = new AbortController();
    this.waiting.push({ ref, control, done });
    this.next();
    return () => control.abort();
  }

  private next(): void {
    while (this.running < AT_ONCE) {
      const wanted = this.waiting.pop();
      if (!wanted) return;
      if (wanted.control.signal.aborted) continue;
      this.running++;
      void this.load(wanted).finally(() => {
        this.running--;
        this.next();
      });
    }
  }

  private async load({ ref, control, done }: { ref: string; control: AbortController; done: (url: string | null) => void }): Promise<void> {
    let url: string | null = null;
    try {
      const response = await this.session.api.raw(filled("/catalog/items/{ref}/thumbnail", { ref }), { accept: "image/*", signal: control.signal });
      url = URL.createObjectURL(await response.blob());
    } catch {
      if (control.signal.aborted) return; // scrolled away: asked again when it is seen again
    }
    this.kept.set(ref, url);
    for (const [oldest, picture] of this.kept) {
      if (this.kept.size <= MOST_KEPT) break;
      if (picture) URL.revokeObjectURL(picture);
      this.kept.delete(oldest);
    }
    if (!control.signal.aborted) done(url);
  }
}

interface ThumbnailProps {
  reference: string;
  size?: "small" | "large";
}

export function Thumbnail({ reference, size = "small" }: ThumbnailProps) {
  const pictures = useSession().part("catalogue:pictures", (session) => new Pictures(session));
  const [url, setUrl] = useState(pictures.known(reference));
  useEffect(() => {
    const known = pictures.known(reference);
    setUrl(known);
    if (known !== undefined) return;
    return pictures.get(reference, setUrl);
  }, [pictures, reference]);
  return (
    <span class={`cs-thumbnail cs-thumbnail-${size}`}>
      {url ? <img src={url} alt="" onError={() => setUrl(null)} /> : url === null ? <Icon name="layers" /> : null}
    </span>
  );
}
