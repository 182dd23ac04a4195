"""The settings as they come to the hub's pod: a part of the zero-to-jupyterhub chart's values.

The chart gives its values to the pod in a Secret that is mounted as a file. What is below
``custom.cscale.settings`` there is what ``cscale.yaml`` is elsewhere; but helm sorts mappings by
name, so the order of profiles is lost: they come smallest first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cscale_hub.profiles import Profile, size_bytes
from cscale_hub.settings import Settings, SettingsError, describe

VALUES_FILE = Path("/usr/local/etc/jupyterhub/secret/values.yaml")
MEMBER = ("custom", "cscale", "settings")


def chart_settings(path: Path = VALUES_FILE) -> Settings:
    """The settings in the chart's values, and in variables of the pod, which win.

    :raises SettingsError: when they are missing or not valid.
    """
    name = ".".join(MEMBER)
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        for member in MEMBER:
            values = values[member]
        return Settings(**_smallest_first(values))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"The chart's values {path} cannot be read: {error}") from error
    except (KeyError, TypeError) as error:
        raise SettingsError(f"The chart's values have no {name}.") from error
    except ValidationError as error:
        raise SettingsError(
            f"{name} of the chart's values is not valid: {describe(error)}"
        ) from error


def _smallest_first(values: dict[str, Any]) -> dict[str, Any]:
    """The settings with the profiles by graphics processors, processors and memory."""
    vos = values.get("vos")
    profiles = vos.get("profiles") if isinstance(vos, dict) else None
    if not isinstance(vos, dict) or not isinstance(profiles, dict):
        return values
    ordered = dict(sorted(profiles.items(), key=lambda each: _size(each[1])))
    return {**values, "vos": {**vos, "profiles": ordered}}


def _size(profile: Any) -> tuple[float, float, int]:
    try:
        known = Profile.model_validate(profile)
    except ValidationError:
        # The settings say what is wrong with it.
        return (0, 0, 0)
    memory = size_bytes(known.memory) if known.memory else 0
    return (known.gpu, known.cpu or 0, memory)
