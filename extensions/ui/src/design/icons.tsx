/** The panel's icons: strokes on a square of 16, in the colour of the text. */

const PATHS = {
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM10.3 10.3 14 14",
  stage: "M8 2v8M4.8 6.8 8 10l3.2-3.2M2.5 10.5v3h11v-3",
  jobs: "M2.5 3.5h11M2.5 8h11M2.5 12.5h7",
  storage: "M2.5 4c0-1 2.5-1.7 5.5-1.7s5.5.7 5.5 1.7-2.5 1.7-5.5 1.7S2.5 5 2.5 4Zm0 0v8c0 1 2.5 1.7 5.5 1.7s5.5-.7 5.5-1.7V4m-11 4c0 1 2.5 1.7 5.5 1.7s5.5-.7 5.5-1.7",
  shared: "M5.5 7a2.2 2.2 0 1 0 0-4.4 2.2 2.2 0 0 0 0 4.4Zm-4 6.4c0-2.3 1.8-3.9 4-3.9s4 1.6 4 3.9M11 7.2a1.9 1.9 0 1 0-.6-3.7M11.3 9.4c1.9.2 3.2 1.7 3.2 3.6",
  rectangle: "M2.5 4h11v8h-11Z",
  polygon: "M8 2 14 6.6 11.7 13.5H4.3L2 6.6Z",
  view: "M2.5 5.5v-3h3M10.5 2.5h3v3M13.5 10.5v3h-3M5.5 13.5h-3v-3",
  paste: "M5.5 3h-2v10.5h9V3h-2M5.5 2h5v2.2h-5ZM5.5 7.5h5M5.5 10h3.5",
  upload: "M8 10V2M4.8 5.2 8 2l3.2 3.2M2.5 10.5v3h11v-3",
  download: "M8 2v8M4.8 6.8 8 10l3.2-3.2M2.5 13.5h11",
  place: "M8 14.2S3.2 9.6 3.2 6.4a4.8 4.8 0 0 1 9.6 0c0 3.2-4.8 7.8-4.8 7.8Zm0-6.2a1.7 1.7 0 1 0 0-3.4A1.7 1.7 0 0 0 8 8Z",
  edit: "m3 13 .7-2.9 7.4-7.4 2.2 2.2-7.4 7.4L3 13ZM9.7 4.1l2.2 2.2",
  clear: "m4 4 8 8M12 4l-8 8",
  close: "m4 4 8 8M12 4l-8 8",
  check: "m3 8.5 3.2 3.2L13 5",
  down: "m4 6 4 4 4-4",
  right: "m6 4 4 4-4 4",
  left: "m10 4-4 4 4 4",
  calendar: "M2.5 3.8h11v9.7h-11ZM2.5 6.8h11M5.3 2.3v3M10.7 2.3v3",
  cloud: "M4.6 12.5a2.9 2.9 0 0 1-.3-5.8 3.9 3.9 0 0 1 7.5 1 2.4 2.4 0 0 1-.3 4.8Z",
  filter: "M2.5 3.5h11L9.4 8.4v4.1l-2.8 1.4V8.4Z",
  layers: "m8 2.3 5.8 3.2L8 8.7 2.2 5.5ZM2.2 8.2 8 11.4l5.8-3.2M2.2 10.8 8 14l5.8-3.2",
  star: "m8 2.2 1.8 3.7 4.1.6-3 2.9.7 4-3.6-1.9-3.6 1.9.7-4-3-2.9 4.1-.6Z",
  save: "M3 2.5h8.2l1.8 1.8v9.2H3ZM5.3 2.5v3.3h4.8V2.5M5.3 13.5V9.3h5.4v4.2",
  share: "M11.5 5.7a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6Zm-7 4.1a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6Zm7 4.1a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6ZM6.1 7.1l3.8-2.2M6.1 8.9l3.8 2.2",
  copy: "M5.5 5.5h8v8h-8ZM10.5 5.5v-3h-8v8h3",
  code: "M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5",
  swipe: "M8 2v12M5.5 5.5 3 8l2.5 2.5M10.5 5.5 13 8l-2.5 2.5",
  play: "m5 3 8 5-8 5Z",
  pause: "M5.2 3v10M10.8 3v10",
  refresh: "M13 8a5 5 0 1 1-1.6-3.7M13 2.3v2.9h-2.9",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  info: "M8 2.2a5.8 5.8 0 1 1 0 11.6A5.8 5.8 0 0 1 8 2.2ZM8 7.4v3.4M8 5.2h.01",
  warning: "M8 2.6 14 13H2ZM8 6.5v3M8 11.2h.01",
  bin: "M2.8 4.3h10.4M6.2 4.3V2.6h3.6v1.7M4.1 4.3l.6 9.2h6.6l.6-9.2",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  target: "M8 3.2a4.8 4.8 0 1 1 0 9.6 4.8 4.8 0 0 1 0-9.6ZM8 1v3M8 12v3M1 8h3M12 8h3",
  folder: "M2 13V3.5h4.2l1.6 1.8H14V13Z",
  file: "M4 2.2h5.2L12 5v8.8H4ZM9.2 2.2V5H12",
  open: "M9.5 2.5h4v4M13.5 2.5 8 8M6.5 3.5h-4v10h10v-4",
} as const;

export type IconName = keyof typeof PATHS;

/** Says nothing to a screen reader: the words beside it do. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="cs-icon" viewBox="0 0 16 16" width={size} height={size} aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
