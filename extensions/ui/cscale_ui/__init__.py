"""The built panel, as files: one module of JavaScript, made by ``bundle/build.mjs``.

Notebook cells are given its text (:mod:`cscale_widget`); JupyterLab loads it from the user's server
(:mod:`cscale_server`). It is here once, so that both show the same and a wheel carries it once.
"""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""What the user's server serves below ``static/cscale/``."""

MODULE = STATIC / "panel.js"
"""The module: ``extensions/ui/src/index.ts`` and all it needs."""
