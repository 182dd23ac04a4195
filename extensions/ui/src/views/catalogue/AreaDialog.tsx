/** An area as text: GeoJSON, WKT, four numbers, or the name of a country. */

import { useState } from "preact/hooks";
import { Button, TextField } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { useTranslation } from "../../i18n";
import { areaBox, parseArea } from "../../map/geo";
import { useSession } from "../../state/hooks";
import { catalogueUi } from "./ui-state";

export function AreaDialog({ onClose }: { onClose: () => void }) {
  const trans = useTranslation();
  const session = useSession();
  const now = session.area.get();
  const [text, setText] = useState(now ? JSON.stringify(now) : "");
  const [problem, setProblem] = useState("");
  const take = () => {
    try {
      const area = parseArea(text);
      session.area.set(area);
      catalogueUi(session).fit.set(areaBox(area));
      onClose();
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <Dialog
      title={trans.__("Area as text")}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Cancel")}</Button>
          <Button kind="primary" onClick={take}>
            {trans.__("Use this area")}
          </Button>
        </>
      }
    >
      <TextField
        label={trans.__("GeoJSON, WKT, or west, south, east, north in degrees")}
        lines={8}
        value={text}
        onValue={(value) => {
          setText(value);
          setProblem("");
        }}
        placeholder={'POLYGON ((14.2 46.0, 14.8 46.0, 14.8 46.3, 14.2 46.0))\n14.2, 46.0, 14.8, 46.3'}
        problem={problem}
      />
    </Dialog>
  );
}
