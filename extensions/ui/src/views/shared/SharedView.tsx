import { useSession, useStore } from "../../state/hooks";
import { GalleryPane } from "./GalleryPane";
import { NotebookPane } from "./NotebookPane";
import { shelfOf } from "./shelf";

export function SharedView() {
  const open = useStore(shelfOf(useSession()).open);
  return <div class="cs-shared">{open ? <NotebookPane key={open} reference={open} /> : <GalleryPane />}</div>;
}
