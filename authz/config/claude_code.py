"""Settings of the sign-in from Claude Code and of ``authz login --device``."""

from typing import Annotated, Any, Self

from pydantic import Field, StrictBool, StrictStr, model_validator

from authz.config.fields import FilePath, ProviderName, Seconds, Section, Url, WholeSeconds

_DAY = 86_400


class ManagedSettings(Section):
    """Claude Code's managed settings for some users.

    Attributes:
        groups: names of groups; a member of one of them gets the settings. Empty means every user.
        settings: the content of Claude Code's ``managed-settings.json``.
    """

    groups: tuple[StrictStr, ...] = ()
    settings: dict[str, Any]


class GatewayModel(Section):
    """A model that Claude Code offers.

    Attributes:
        id: the name in requests, such as ``claude-sonnet-4-5``.
        display_name: the name for people. Unset means the id.
    """

    id: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    display_name: Annotated[StrictStr, Field(min_length=1, max_length=256)] | None = None


class Telemetry(Section):
    """The collector that gets what Claude Code reports about itself.

    Attributes:
        otlp: URL of the collector for OTLP over HTTP, such as ``http://collector:4318``. Envoy
            appends ``/v1/metrics``, ``/v1/logs`` or ``/v1/traces``.
        ca_file: PEM file with the CA of the collector. Unset means the system's trusted roots.
    """

    otlp: Url
    ca_file: FilePath | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ca_file is not None and not self.otlp.tls:
            raise ValueError("ca_file: needs otlp to begin with https://")
        return self


class ClaudeCode(Section):
    """Sign-in from Claude Code (``/login``, Cloud gateway) and ``authz login --device``.

    Attributes:
        enabled: whether it is on. Where Coder manages the users it is always off.
        provider: name of the provider of type ``anthropic`` that serves ``/v1/messages`` at the
            gateway's root. Unset means the first one.
        token_lifetime: lifetime of an access token, which Claude Code renews by itself.
        refresh_grace: how long a refresh token that was just used gets the same answer again.
            Later use ends the sign-in.
        sign_in_days: how many days after a sign-in a person has to sign in again.
        managed_settings: Claude Code's managed settings by group; the first entry that is for the
            user counts.
        models: models that Claude Code lists. Empty means its own list.
        telemetry: the collector that gets Claude Code's metrics, logs and traces. Unset means that
            Envoy accepts and drops them.
    """

    enabled: StrictBool = True
    provider: ProviderName | None = None
    token_lifetime: Annotated[WholeSeconds, Field(ge=600, le=_DAY)] = 3600
    refresh_grace: Annotated[Seconds, Field(le=3600)] = 600
    sign_in_days: Annotated[int, Field(strict=True, ge=1, le=365)] = 30
    managed_settings: tuple[ManagedSettings, ...] = ()
    models: tuple[GatewayModel, ...] = ()
    telemetry: Telemetry | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        for index, entry in enumerate(self.managed_settings[:-1]):
            if not entry.groups:
                raise ValueError(
                    f"managed_settings[{index}]: has no groups and is for every user, so that the "
                    "entries after it never count: put it last"
                )
        return self

    def settings_for(self, groups: set[str]) -> dict[str, Any] | None:
        """Return the managed settings of a user with these groups; None if there are none."""
        for entry in self.managed_settings:
            if not entry.groups or groups & set(entry.groups):
                return entry.settings
        return None
