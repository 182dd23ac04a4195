"""Which server a person gets: the choice on the page, and the same rule on every other way.

:class:`ChoosingSpawner` is the part of every spawner of ours that knows profiles. What is offered
is computed from the person's groups each time; what was asked for, by the page, by an address or
by REST, is looked up in the offer when the server starts, so there is no way around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyterhub.spawner import SpawnException
from jupyterhub.utils import maybe_future
from traitlets import Any as AnyTrait
from traitlets import Instance, default
from traitlets.config import LoggingConfigurable

from cscale_hub.profiles import Offer, Profile, ProfileRefused, choose, offers, size_bytes
from cscale_hub.quotas import UsageReader, Used, bounded, refusal
from cscale_hub.settings import Settings
from cscale_hub.spawn.page import Choice, choices_page
from cscale_hub.vo_model import VOFile
from cscale_hub.vos import roles_in_groups

FIELD = "server"
_UNUSED = Used(own=0.0, everybody=0.0)


class ServerRefused(SpawnException):  # type: ignore[misc]  # JupyterHub is not typed
    """This person cannot have this server; shown as it is, on pages and in answers."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message, reason=reason, status_code=403)
        self.jupyterhub_message = message


class ChoosingSpawner(LoggingConfigurable):  # type: ignore[misc]  # traitlets is not typed
    """Put before a spawner's class: starts what the person's VOs offer, and nothing else."""

    cscale_settings: Settings = Instance(Settings, help="The hub's settings.").tag(config=True)
    cscale_vos: VOFile = Instance(VOFile, help="The accepted VOs.").tag(config=True)
    cscale_usage: UsageReader | None = AnyTrait(
        None, allow_none=True, help="Tells what a person used of a VO's allowance."
    ).tag(config=True)

    user_options: dict[str, Any]
    offer: Offer | None = None
    """What was chosen, from the start of the server on."""

    @default("options_form")  # type: ignore[untyped-decorator]
    def _default_options_form(self) -> Any:
        return lambda spawner: spawner.choices()

    @default("options_from_form")  # type: ignore[untyped-decorator]
    def _default_options_from_form(self) -> Any:
        return options_from_form

    @default("apply_user_options")  # type: ignore[untyped-decorator]
    def _default_apply_user_options(self) -> Any:
        # They are applied in run_pre_spawn_hook: JupyterHub would log each refusal here as a
        # failure of its own, with a traceback.
        return lambda spawner, options: None

    def offered(self) -> list[Offer]:
        """What the person may have, by the groups they are in now."""
        roles = roles_in_groups(group.name for group in self.user.groups)
        vos = self.cscale_vos
        return offers(vos.profiles, vos.allowed_profiles(), roles)

    async def used(self, vo: str) -> Used:
        """What the person used of the VO's allowance this month."""
        if self.cscale_usage is None:
            return _UNUSED
        return await self.cscale_usage(vo, self.user.name)

    def running_for(self, vo: str) -> int:
        """The person's other servers that run for the VO, or are about to."""
        others = (each for each in self.user.spawners.values() if each is not self)
        return sum(
            1 for each in others if each.active and (each.user_options or {}).get("vo") == vo
        )

    async def available(self, profile: Profile) -> str:
        """What there is now for a server of this size, in words; empty where nobody knows."""
        return ""

    async def choices(self) -> str:
        """The page's part with the choices; empty, so that the server starts, if there is one."""
        offered = self.offered()
        if len(offered) == 1:
            return ""
        found: list[Choice] = []
        for offer in offered:
            vo = self.cscale_vos.vos[offer.vo]
            used, refused = await self._allowance(offer.vo)
            now = await self.available(offer.profile)
            found.append(Choice(offer, vo.title, vo.quota, used, now, refused))
        before = self.user_options or {}
        return choices_page(FIELD, found, (before.get("vo"), before.get("profile")))

    async def run_pre_spawn_hook(self) -> None:
        """See what was asked for, and refuse it or hold the server to it.

        :raises ServerRefused: with the words for the person.
        """
        try:
            offer = await self._chosen()
        except ServerRefused:
            # What cannot be had is not remembered: the next start begins with the first offer.
            self.user_options = self.orm_spawner.user_options = {}
            raise
        self.offer = offer
        self.user_options = {"profile": offer.name, "vo": offer.vo}
        if self.orm_spawner.user_options != self.user_options:
            self.orm_spawner.user_options = self.user_options
        self.hold_to(offer.profile)
        await maybe_future(super().run_pre_spawn_hook())

    async def _chosen(self) -> Offer:
        """The offer that is meant by the options.

        :raises ServerRefused: when there is none, or nothing is left of the allowance.
        """
        try:
            offer = choose(self.offered(), self.user_options)
        except ProfileRefused as error:
            raise ServerRefused(str(error), "profile") from error
        _, refused = await self._allowance(offer.vo)
        if refused:
            raise ServerRefused(refused, "quota")
        return offer

    async def _allowance(self, name: str) -> tuple[Used, str]:
        """What the person used of a VO's allowance, and why no server starts for it; the records
        are asked only where there is a bound."""
        vo = self.cscale_vos.vos[name]
        used = await self.used(name) if bounded(vo.quota) else _UNUSED
        return used, refusal(vo.title, vo.quota, used, self.running_for(name))

    def hold_to(self, profile: Profile) -> None:
        """Set the spawner's limits to those of the profile; what it leaves open stays."""
        limits = {
            "cpu_limit": profile.cpu,
            "cpu_guarantee": profile.cpu_guarantee,
            "mem_limit": profile.memory and size_bytes(profile.memory),
            "mem_guarantee": profile.memory_guarantee and size_bytes(profile.memory_guarantee),
        }
        for name, value in limits.items():
            if value is not None:
                setattr(self, name, value)

    def get_env(self) -> dict[str, str]:
        """The variables of the VO the server is for, and its name, beside JupyterHub's."""
        env: dict[str, str] = super().get_env()
        if self.offer is not None:
            env.update(self.cscale_vos.vos[self.offer.vo].environment)
            env["CSCALE_VO"] = self.offer.vo
            env["CSCALE_PROFILE"] = self.offer.name
        return env


def options_from_form(form: Mapping[str, list[str]]) -> dict[str, str]:
    """What the page, or an address such as ``/hub/spawn?profile=large``, asks for."""
    vo, _, profile = form.get(FIELD, [""])[0].partition(":")
    said = {"vo": vo, "profile": profile}
    said |= {key: form[key][0] for key in said if form.get(key)}
    return {key: value for key, value in said.items() if value}
