"""``python -m cscale_hub.culling --parent PID -- OPTIONS``: the culler, ending with the hub.

JupyterHub ends its services when it is told to stop; when it is killed this one would go on, and
the next hub start another.
"""

from __future__ import annotations

import argparse
import sys

from jupyterhub_idle_culler import main as cull

from cscale_hub.local.run import die_with_parent


def main() -> None:
    """Cull until told to stop."""
    parser = argparse.ArgumentParser(prog="cscale_hub.culling", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="end when this process ends")
    parser.add_argument("options", nargs="*", help="those of jupyterhub-idle-culler")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    sys.argv = ["jupyterhub-idle-culler", *arguments.options]
    cull()


if __name__ == "__main__":
    main()
