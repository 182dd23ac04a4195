import { useEffect } from "preact/hooks";
import { asProblem } from "../../api/problem";
import { useTranslation } from "../../i18n";
import { useStore, useSession } from "../../state/hooks";
import type { ViewProps } from "../view";
import { DeletionTray } from "./DeletionTray";
import { FolderPane } from "./FolderPane";
import { PlacesPane } from "./PlacesPane";
import { UploadTray } from "./UploadTray";
import { whereOf } from "./where";

export function StorageView({ shown }: ViewProps) {
  const trans = useTranslation();
  const session = useSession();
  const where = useStore(whereOf(session));
  const wanted = useStore(session.folder);
  useEffect(() => {
    if (!wanted) return;
    session.folder.set(null);
    const { bucket, prefix } = wanted;
    session.api.get("/site", {}).then(
      ({ grants }) => {
        const roots = grants.filter((grant) => grant.bucket === bucket && prefix.startsWith(grant.prefix)).map((grant) => grant.prefix);
        const root = roots.sort((one, other) => other.length - one.length)[0];
        if (root === undefined) session.say(trans.__("s3://%1/%2 is none of your places.", bucket, prefix), "error");
        else whereOf(session).set({ bucket, root, prefix });
      },
      (thrown: unknown) => session.say(asProblem(thrown).message, "error"),
    );
  }, [wanted]);
  return (
    <div class="cs-storage">
      {where ? <FolderPane key={`${where.bucket}/${where.prefix}`} where={where} shown={shown} /> : <PlacesPane shown={shown} />}
      <DeletionTray />
      <UploadTray />
    </div>
  );
}
