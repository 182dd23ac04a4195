/** The name of an item, cut in its middle where there is no room: names of scenes differ at their ends. */

const TAIL = 12; // letters

export function SceneName({ id }: { id: string }) {
  return (
    <span class="cs-scene-name" title={id}>
      <span class="cs-cut">{id.slice(0, -TAIL)}</span>
      <span>{id.slice(-TAIL)}</span>
    </span>
  );
}
