"""The panel in a notebook cell: the one interface of ``extensions/ui`` as an anywidget.

``Panel()`` shows it in JupyterLab, Notebook 7, Voila and VS Code. Importing this package is cheap:
leafmap and what it brings are imported when a map is first asked for.
"""

from cscale_widget.panel import Panel
from cscale_widget.showing import add_search, show_results

__all__ = ["Panel", "add_search", "show_results"]
