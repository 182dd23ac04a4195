"""Builders beside the tests are modules of their own."""

from __future__ import annotations

import sys
from pathlib import Path

# Tests are imported by path (import-mode=importlib).
sys.path.insert(0, str(Path(__file__).parent))
