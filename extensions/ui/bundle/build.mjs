// Builds the panel:
//   cscale_ui/static/    the panel, one module, which is the anywidget, too
//   labextension/        the JupyterLab extension, prebuilt; it loads that module from the server
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
const PANEL = join(here, "cscale_ui/static");
const LARGEST = 1_000_000; // bytes of all together
const watching = process.argv.includes("--watch");
const about = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

let version = ""; // of the panel's module, when that is built

/** Modules that are made here: the stylesheet as text, the basemap, and which panel it is. */
const generated = {
  name: "generated",
  setup(build) {
    build.onResolve({ filter: /^generated:/ }, ({ path }) => ({ path, namespace: "generated" }));
    build.onLoad({ filter: /basemap$/, namespace: "generated" }, () => ({ contents: basemap() }));
    build.onLoad({ filter: /panel$/, namespace: "generated" }, () => ({
      contents: `export const VERSION = ${JSON.stringify(version)};`,
    }));
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
  plugins: [sharedModules(used), generated, { name: "labextension", setup: (build) => build.onEnd(writeLabextension) }],
};
const panel = {
  ...common,
  entryPoints: { panel: "src/index.ts" },
  outdir: PANEL,
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
  const file = `static/remoteEntry.${digest(script)}.js`;
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

function digest(made) {
  return createHash("sha256").update(made).digest("hex").slice(0, 16);
}

function size({ metafile }) {
  return Object.values(metafile.outputs).reduce((sum, made) => sum + made.bytes, 0);
}

for (const folder of [LAB, PANEL]) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}
if (watching) {
  for (const bundle of [panel, lab]) await (await esbuild.context(bundle)).watch();
  console.log("The panel is built again after every change.");
} else {
  const bytes = [size(await esbuild.build(panel))];
  version = digest(readFileSync(join(PANEL, "panel.js")));
  bytes.push(size(await esbuild.build(lab)));
  console.log(`The panel is built: ${bytes[0]} bytes, and ${bytes[1]} bytes for JupyterLab to load it.`);
  if (bytes[0] + bytes[1] > LARGEST) {
    console.error(`Together that is more than ${LARGEST} bytes: look for a dependency that is too large.`);
    process.exit(1);
  }
}
