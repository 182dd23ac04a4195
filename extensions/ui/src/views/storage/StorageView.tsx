import { useStore, useSession } from "../../state/hooks";
import type { ViewProps } from "../view";
import { FolderPane } from "./FolderPane";
import { PlacesPane } from "./PlacesPane";
import { UploadTray } from "./UploadTray";
import { whereOf } from "./where";

export function StorageView({ shown }: ViewProps) {
  const where = useStore(whereOf(useSession()));
  return (
    <div class="cs-storage">
      {where ? <FolderPane key={`${where.bucket}/${where.prefix}`} where={where} shown={shown} /> : <PlacesPane shown={shown} />}
      <UploadTray />
    </div>
  );
}
