/** Goes to a place: a country, or coordinates. Knows what is shipped and asks nobody. */

import { useMemo, useState } from "preact/hooks";
import { Icon } from "../../design/icons";
import { usePageId } from "../../design/page-id";
import { useTranslation } from "../../i18n";
import { countries } from "../../map/basemap-data";
import { parsePlace, type Box } from "../../map/geo";
import { useSession } from "../../state/hooks";
import { catalogueUi } from "./ui-state";

const AROUND = 0.25; // degrees
const MOST = 8;

export function PlaceSearch() {
  const trans = useTranslation();
  const ui = catalogueUi(useSession());
  const id = usePageId();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [open, setOpen] = useState(false);
  const all = useMemo(countries, []);
  const found = useMemo(() => {
    const place = parsePlace(text);
    if (place) {
      const [x, y] = place;
      const box: Box = [Math.max(-180, x - AROUND), Math.max(-85, y - AROUND), Math.min(180, x + AROUND), Math.min(85, y + AROUND)];
      return [{ name: trans.__("%1° N, %2° E", y, x), box }];
    }
    const wanted = text.trim().toLowerCase();
    if (wanted.length < 2) return [];
    const begins = all.filter(({ name }) => name.toLowerCase().startsWith(wanted));
    const has = all.filter(({ name }) => !begins.some((each) => each.name === name) && name.toLowerCase().includes(wanted));
    return [...begins, ...has].slice(0, MOST);
  }, [text, all, trans]);
  const go = (index: number) => {
    const place = found[index];
    if (!place) return;
    ui.fit.set(place.box);
    setText(place.name);
    setOpen(false);
  };
  const shown = open && found.length > 0;
  return (
    <div class="cs-place">
      <Icon name="place" />
      <input
        type="text"
        role="combobox"
        class="cs-input"
        aria-label={trans.__("Go to a country or to latitude, longitude")}
        aria-expanded={shown}
        aria-controls={`${id}-list`}
        aria-activedescendant={shown ? `${id}-${at}` : undefined}
        aria-autocomplete="list"
        placeholder={trans.__("Country, or lat, lon")}
        autocomplete="off"
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
          setOpen(true);
        }}
        onBlur={() => setOpen(false)}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown" && found.length) setAt((at + 1) % found.length);
          else if (event.key === "ArrowUp" && found.length) setAt((at - 1 + found.length) % found.length);
          else if (event.key === "Enter") go(at);
          else if (event.key === "Escape") setOpen(false);
          else return;
          event.preventDefault();
          event.stopPropagation();
        }}
      />
      <ul role="listbox" id={`${id}-list`} aria-label={trans.__("Places")} hidden={!shown} class="cs-place-list">
        {found.map(({ name }, index) => (
          <li
            key={name}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === at}
            onPointerDown={(event) => {
              event.preventDefault();
              go(index);
            }}
          >
            {name}
          </li>
        ))}
      </ul>
    </div>
  );
}
