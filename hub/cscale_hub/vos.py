"""The accepted virtual organisations: read and checked at start-up, and told in hub groups.

The model of the file is :mod:`cscale_hub.vo_model`. Membership and roles are hub groups
``vo:NAME`` and ``vo:NAME:ROLE``; nothing else says who may do what.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import ValidationError

from cscale_hub import yaml_text
from cscale_hub.settings import Settings, SettingsError
from cscale_hub.vo_model import VOFile

DEMO_VOS_FILE = Path(__file__).parent / "local" / "vos.yaml"
GROUP_PREFIX = "vo:"


def accepted_vos(settings: Settings) -> VOFile:
    """The VOs in the settings, of the file they name, or the demonstration's.

    :raises SettingsError: when the file is missing, is not YAML or is not valid.
    """
    return settings.vos or load_vos(settings.vos_file)


def load_vos(path: Path | None = None) -> VOFile:
    """Read a VO file; the demonstration's when no path is given.

    :raises SettingsError: when the file is missing, is not YAML or is not valid; every wrong
        member is named, with its line.
    """
    source = path or DEMO_VOS_FILE
    try:
        text = source.read_text(encoding="utf-8")
        return VOFile.model_validate(yaml_text.load(text))
    except ValidationError as error:
        raise SettingsError(
            f"The VO file {source} is not valid: {yaml_text.describe(error, text)}"
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"The VO file {source} cannot be read: {error}") from error


def group_names(roles: dict[str, frozenset[str]]) -> set[str]:
    """Hub groups for the roles held: ``vo:NAME`` and ``vo:NAME:ROLE``."""
    names = {f"{GROUP_PREFIX}{vo}" for vo in roles}
    return names | {f"{GROUP_PREFIX}{vo}:{role}" for vo, held in roles.items() for role in held}


def vo_names(groups: Iterable[str]) -> tuple[str, ...]:
    """The VOs among hub groups, sorted; role groups and foreign groups do not count."""
    names = {group.removeprefix(GROUP_PREFIX) for group in groups if group.startswith(GROUP_PREFIX)}
    return tuple(sorted(name for name in names if ":" not in name))


def roles_in_groups(groups: Iterable[str]) -> dict[str, frozenset[str]]:
    """The inverse of :func:`group_names`: the roles held in each VO."""
    held: dict[str, set[str]] = {}
    for group in groups:
        if group.startswith(GROUP_PREFIX):
            name, _, role = group.removeprefix(GROUP_PREFIX).partition(":")
            held.setdefault(name, set()).update({role} if role else set())
    return {name: frozenset(roles) for name, roles in held.items()}
