/** Where: drawn, as the map shows, pasted, uploaded, or by the name of a place. */

import { useState } from "preact/hooks";
import { IconButton } from "../../design/controls";
import { Menu } from "../../design/menu";
import { useTranslation } from "../../i18n";
import { areaBox, boxText, isRectangle, parseArea, rectangle, squareKilometres } from "../../map/geo";
import { useSession, useStore } from "../../state/hooks";
import { AreaDialog } from "./AreaDialog";
import { Section } from "./SearchForm";
import { catalogueUi } from "./ui-state";

export function AreaSection() {
  const trans = useTranslation();
  const session = useSession();
  const ui = catalogueUi(session);
  const area = useStore(session.area);
  const bounds = useStore(ui.bounds);
  const drawing = useStore(ui.drawing);
  const [dialog, setDialog] = useState(false);
  const box = area && areaBox(area);
  const draw = (mode: "rectangle" | "polygon" | "edit") => ui.drawing.set(drawing === mode ? null : mode);
  return (
    <Section
      icon="target"
      title={trans.__("Area")}
      actions={
        area && (
          <>
            <IconButton icon="view" label={trans.__("Show the area on the map")} onClick={() => ui.fit.set(box)} />
            <IconButton icon="clear" label={trans.__("Take the area away")} onClick={() => session.area.set(null)} />
          </>
        )
      }
    >
      {box ? (
        <p class="cs-area-text">
          <strong>{isRectangle(area) ? trans.__("Rectangle") : area.type === "Polygon" ? trans.__("Polygon") : trans.__("Several polygons")}</strong>{" "}
          {trans.__("%1 km²", Math.round(squareKilometres(area)).toLocaleString())}
          <br />
          <span class="cs-soft">{boxText(box)}</span>
        </p>
      ) : (
        <p class="cs-hint">{trans.__("The whole world. Draw an area on the map to search within it.")}</p>
      )}
      <div class="cs-actions">
        <IconButton icon="rectangle" kind="plain" label={trans.__("Draw a rectangle")} pressed={drawing === "rectangle"} onClick={() => draw("rectangle")} />
        <IconButton icon="polygon" kind="plain" label={trans.__("Draw a polygon")} pressed={drawing === "polygon"} onClick={() => draw("polygon")} />
        <IconButton icon="edit" kind="plain" label={trans.__("Change the area's corners")} disabled={!area} pressed={drawing === "edit"} onClick={() => draw("edit")} />
        <IconButton
          icon="view"
          kind="plain"
          label={trans.__("Use what the map shows")}
          disabled={!bounds}
          onClick={() => bounds && session.area.set(bounds[0] < bounds[2] ? rectangle(bounds) : null)}
        />
        <Menu
          label={trans.__("More")}
          items={[
            { label: trans.__("Paste or type an area…"), icon: "paste", run: () => setDialog(true) },
            { label: trans.__("Upload GeoJSON or WKT…"), icon: "upload", run: () => upload(trans, session) },
            { label: trans.__("Copy as GeoJSON"), icon: "copy", disabled: !area, run: () => void copyArea(trans, session) },
          ]}
        />
      </div>
      {drawing && (
        <p class="cs-hint" role="status">
          {drawing === "rectangle"
            ? trans.__("Drag on the map, or click two corners. With the keyboard: move the map with the arrows, Enter sets a corner. Escape gives up.")
            : drawing === "polygon"
              ? trans.__("Click each corner, then the first one again. With the keyboard: arrows move the map, Space sets a corner, twice ends. Escape gives up.")
              : trans.__("Drag the corners, or move them with the arrow keys; Delete takes one away. Enter ends, Escape takes it back.")}
        </p>
      )}
      {dialog && <AreaDialog onClose={() => setDialog(false)} />}
    </Section>
  );
}

type Trans = ReturnType<typeof useTranslation>;
type Session = ReturnType<typeof useSession>;

const LARGEST_FILE = 5_000_000;

function upload(trans: Trans, session: Session): void {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = ".geojson,.json,.wkt,.txt";
  input.onchange = async () => {
    const file = input.files?.[0];
    if (!file) return;
    if (file.size > LARGEST_FILE) {
      session.say(trans.__("%1 is larger than 5 MB: simplify it first.", file.name), "error");
      return;
    }
    try {
      const area = parseArea(await file.text());
      session.area.set(area);
      catalogueUi(session).fit.set(areaBox(area));
    } catch (error) {
      session.say(trans.__("%1 was not taken. %2", file.name, (error as Error).message), "error");
    }
  };
  input.click();
}

async function copyArea(trans: Trans, session: Session): Promise<void> {
  try {
    await navigator.clipboard.writeText(JSON.stringify(session.area.get()));
    session.say(trans.__("Copied."), "success");
  } catch {
    session.say(trans.__("The browser did not let it be copied."), "error");
  }
}
