/** Code that loads items: into the notebook that is open, or onto the clipboard. */

import { useState } from "preact/hooks";
import { asProblem } from "../../api/problem";
import type { CodeRequest } from "../../api/schema";
import { Menu } from "../../design/menu";
import { useTranslation } from "../../i18n";
import { areaBox } from "../../map/geo";
import { useSession } from "../../state/hooks";

type Kind = CodeRequest["kind"];

const MOST = 1000;

export function CodeMenu({ refs }: { refs: readonly string[] }) {
  const trans = useTranslation();
  const session = useSession();
  const [asking, setAsking] = useState(false);
  const { insertCode } = session.host;
  const put = async (kind: Kind) => {
    setAsking(true);
    try {
      const area = session.area.get();
      const body = { kind, refs: refs.slice(0, MOST), bbox: (area && areaBox(area)) as CodeRequest["bbox"] };
      const { code, notes } = await session.api.post("/catalog/code", { body });
      if (insertCode) await insertCode({ key: `catalogue-${kind}`, code });
      else await navigator.clipboard.writeText(code);
      session.say([insertCode ? trans.__("The code is in the notebook.") : trans.__("The code is copied."), ...notes].join(" "), "success");
    } catch (thrown) {
      const { message, hint } = asProblem(thrown);
      session.say(`${message} ${hint}`.trim(), "error");
    } finally {
      setAsking(false);
    }
  };
  const kinds: readonly (readonly [Kind, string])[] = [
    ["xarray", trans.__("xarray (odc-stac)")],
    ["openeo", trans.__("openEO")],
    ["gdal", trans.__("GDAL")],
    ["duckdb", trans.__("DuckDB")],
  ];
  return (
    <Menu
      icon="code"
      label={insertCode ? trans.__("Load in notebook") : trans.__("Copy code")}
      disabled={asking || !refs.length}
      items={kinds.map(([kind, label]) => ({ label, icon: "code" as const, run: () => void put(kind) }))}
    />
  );
}
