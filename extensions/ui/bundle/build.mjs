// Builds the panel twice from the same sources:
//   labextension/                          the JupyterLab extension, prebuilt
//   ../widget/cscale_widget/static/        the anywidget, one module
// With --watch, again after every change.

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { basemap } from "./basemap.mjs";
import { sharedModules } from "./shared-modules.mjs";

const here = join(dirname(fileURLToPath(import.meta.url)), "..");
const LAB = join(here, "labextension");
const WIDGET = join(here, "../widget/cscale_widget/static");
const LARGEST = 1_000_000; // bytes of a bundle: a page loads one of them
const watching = process.argv.includes("--watch");
const about = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

/** Modules that are made here: the stylesheet as text, and the basemap. */
const generated = {
  name: "generated",
  setup(build) {
    build.onResolve({ filter: /^generated:/ }, ({ path }) => ({ path, namespace: "generated" }));
    build.onLoad({ filter: /basemap$/, namespace: "generated" }, () => ({ contents: basemap() }));
    build.onLoad({ filter: /styles$/, namespace: "generated" }, async () => {
      const { outputFiles, metafile } = await esbuild.build({
        entryPoints: [join(here, "src/styles.css")],
        bundle: true,
        minify: true,
        write: false,
        metafile: true,
        loader: { ".png": "dataurl" },
        outdir: here,
        absWorkingDir: here,
        target: "chrome110",
      });
      return {
        contents: `export default ${JSON.stringify(outputFiles[0].text)};`,
        watchFiles: Object.keys(metafile.inputs).map((path) => join(here, path)),
      };
    });
  },
};

const common = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !watching,
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  metafile: true,
  alias: { leaflet: join(here, "node_modules/leaflet/dist/leaflet-src.esm.js") },
  logLevel: "warning",
};

const used = new Set();
const lab = {
  ...common,
  entryPoints: { extension: "src/lab/index.ts" },
  outdir: join(LAB, "static"),
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  splitting: true,
  plugins: [sharedModules(used), generated, { name: "labextension", setup: (build) => build.onEnd(writeLabextension) }],
};
const widget = {
  ...common,
  entryPoints: { panel: "src/widget/index.ts" },
  outdir: WIDGET,
  plugins: [generated],
};

/** What JupyterLab reads: package.json, the schemas of settings, and the container. */
function writeLabextension({ metafile, errors }) {
  if (errors.length) return;
  const [entry] = Object.entries(metafile.outputs).find(([, made]) => made.entryPoint === "src/lab/index.ts");
  const container = readFileSync(join(here, "bundle/remote-entry.js"), "utf8")
    .replaceAll("NAME", JSON.stringify(about.name))
    .replaceAll("SHARED", JSON.stringify([...used].sort()))
    .replaceAll("ENTRY", JSON.stringify(`./${entry.split("/").at(-1)}`));
  const script = esbuild.transformSync(container, { minify: true }).code;
  const file = `static/remoteEntry.${createHash("sha256").update(script).digest("hex").slice(0, 16)}.js`;
  writeFileSync(join(LAB, file), script);
  const { name, version, description, license } = about;
  const jupyterlab = { extension: true, schemaDir: "schema", _build: { load: file, extension: "./extension" } };
  writeFileSync(
    join(LAB, "package.json"),
    JSON.stringify({ name, version, description, license, jupyterlab }, null, 2),
  );
  const schemas = join(LAB, "schemas", name);
  mkdirSync(schemas, { recursive: true });
  cpSync(join(here, "schema"), schemas, { recursive: true });
  writeFileSync(join(schemas, "package.json.orig"), JSON.stringify({ name, version, jupyterlab: { schemaDir: "schema" } }));
  writeFileSync(
    join(LAB, "install.json"),
    JSON.stringify({ packageManager: "python", packageName: "cscale-hub", uninstallInstructions: "Use pip to uninstall cscale-hub." }),
  );
}

function size({ metafile }) {
  return Object.values(metafile.outputs).reduce((sum, made) => sum + made.bytes, 0);
}

for (const folder of [LAB, WIDGET]) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}
if (watching) {
  for (const bundle of [lab, widget]) await (await esbuild.context(bundle)).watch();
  console.log("The panel is built again after every change.");
} else {
  const made = await Promise.all([lab, widget].map((bundle) => esbuild.build(bundle)));
  const bytes = made.map(size);
  console.log(`The panel is built: ${bytes[0]} bytes for JupyterLab, ${bytes[1]} bytes for notebooks.`);
  if (Math.max(...bytes) > LARGEST) {
    console.error(`One is larger than ${LARGEST} bytes: look for a dependency that is too large.`);
    process.exit(1);
  }
}
