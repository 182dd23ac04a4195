/** The panel's icon in JupyterLab: an orbit over a horizon, in the theme's colour. */

import { LabIcon } from "@jupyterlab/ui-components";

export const panelIcon = new LabIcon({
  name: "cscale-panel:icon",
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="none" stroke="#616161" stroke-width="1.8" stroke-linecap="round">
    <circle cx="12" cy="12" r="6"/>
    <path d="M6.2 10.5c3 1.6 8.600 1.600 11.600 0M6.200 13.700c3 1.600 8.600 1.600 11.600 0"/>
    <path d="M5.300 17.800C2.500 19.900 1.700 21 2.200 21.700c1 1.200 7.200-2.500 12.600-8.100s8.800-11 7.700-12c-.7-.6-2.400.3-4.900 2.300"/>
  </g>
</svg>`,
});
