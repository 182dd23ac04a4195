// Modules that JupyterLab has already are taken from it and not bundled.
//
// JupyterLab loads extensions as containers of module federation: a script puts an object with
// `init(scope)` and `get(module)` at window._JUPYTERLAB[name]. The scope holds JupyterLab's own
// modules. remote-entry.js resolves those that are named here, before the extension is imported,
// and puts them where the modules made below find them.

const OURS = /^@(jupyterlab|lumino)\//;

/** An esbuild plugin; `used` collects the names of the modules that were taken from JupyterLab. */
export function sharedModules(used) {
  return {
    name: "shared-modules",
    setup(build) {
      build.onResolve({ filter: OURS }, ({ path }) => {
        used.add(path);
        return { path, namespace: "shared" };
      });
      build.onLoad({ filter: /.*/, namespace: "shared" }, ({ path }) => ({
        contents: `module.exports = globalThis[Symbol.for("cscale.shared")][${JSON.stringify(path)}];`,
        loader: "js",
      }));
    },
  };
}
