/** What an application really asks of a cluster. */

import { Badge } from "../../design/feedback";
import { memory } from "../../design/figures";
import { useTranslation } from "../../i18n";

export function PodList({ pods }: { pods: readonly Record<string, unknown>[] }) {
  const trans = useTranslation();
  if (!pods.length) return null;
  return (
    <ul class="cs-plain-list">
      {pods.map((pod, index) => {
        const parts = Object.entries((pod.memory_parts ?? {}) as object).map(([name, amount]) => `${name.replaceAll("_", "-")} ${memory(String(amount))}`);
        return (
          <li key={index}>
            {trans._n("%2 × %3: %1 processor, %4 memory", "%2 × %3: %1 processors, %4 memory", Number(pod.cpus), String(pod.count), String(pod.role), memory(String(pod.memory)))}{" "}
            <span class="cs-hint">({parts.join(" + ")})</span>{" "}
            {pod.fits === true && <Badge tone="success">{trans.__("fits a node")}</Badge>}
            {pod.fits === false && <Badge tone="error">{trans.__("fits no node")}</Badge>}
          </li>
        );
      })}
    </ul>
  );
}
