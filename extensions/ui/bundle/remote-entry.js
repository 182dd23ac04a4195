// The container of module federation by which JupyterLab loads the panel; see shared-modules.mjs.
// Free names are put in by build.mjs: NAME, SHARED (modules taken from JupyterLab), ENTRY (file).
(() => {
  const kept = Symbol.for("cscale.shared");
  let scope = {};

  const newest = (versions) =>
    Object.keys(versions).sort((a, b) => b.localeCompare(a, undefined, { numeric: true }))[0];

  // Of a module that this application does not have, every token is absent: plugins that name it
  // as optional are given null.
  const load = async (name) => {
    const versions = scope[name];
    return versions ? (await versions[newest(versions)].get())() : {};
  };

  const container = {
    init: (given) => {
      scope = given;
    },
    get: async (module) => {
      if (module !== "./extension") throw new Error(`${NAME} has no module ${module}`);
      const modules = await Promise.all(SHARED.map(load));
      globalThis[kept] = Object.fromEntries(SHARED.map((name, index) => [name, modules[index]]));
      const loaded = await import(ENTRY);
      // JupyterLab writes a mark on what it is given, and takes a default export only with __esModule.
      return () => ({ ...loaded, __esModule: true });
    },
  };
  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB[NAME] = container;
})();
