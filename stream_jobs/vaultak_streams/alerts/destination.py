"""One destination: a service that Apprise knows, with what it said when it failed."""

from __future__ import annotations

from pathlib import Path

import apprise

from vaultak.errors import ConfigurationError
from vaultak_streams.alerts.options import AlertOptions
from vaultak_streams.alerts.wording import Message

MAX_SAID_CHARS = 300


class DeliveryError(Exception):
    """The service did not take a message; says why, as far as it is known."""


class Destination:
    """`name` shows the service and its address without passwords and tokens."""

    def __init__(self, service: apprise.NotifyBase, number: int) -> None:
        self._apprise = apprise.Apprise()
        self._apprise.add(service)
        scheme, _, rest = str(service.url(privacy=True)).partition("://")  # type: ignore[no-untyped-call]
        self.name = f"{number} {scheme}://{rest.split('/')[0]}"  # tokens of web hooks are in the path

    def deliver(self, message: Message) -> None:
        """Send it; blocks for the service's own time limits. Raises `DeliveryError`."""
        try:
            result = self._apprise.notify(
                title=message.title,
                body=message.body,
                notify_type=apprise.NotifyType(message.level),
                body_format=apprise.NotifyFormat.TEXT,
            )
        except Exception as e:  # noqa: BLE001 - a plug-in's bug is a failed delivery
            raise DeliveryError(f"{type(e).__name__}: {e}"[:MAX_SAID_CHARS]) from None
        if not result:
            said = [entry.message for one in result for entry in one.logs() if entry.level in ("WARNING", "ERROR")]
            raise DeliveryError(" ".join(" ".join(said).split())[:MAX_SAID_CHARS] or "the service did not take it")


def destinations(options: AlertOptions) -> list[Destination]:
    """Everything that the options name. Raises `ConfigurationError` without quoting a secret."""
    found: list[apprise.NotifyBase] = []
    asset = apprise.AppriseAsset(app_id="Vaultak", app_desc="Vaultak", app_url="", async_mode=False)
    for position, url in enumerate(options.urls, 1):
        service = apprise.Apprise.instantiate(url, asset=asset)
        if service is None:
            scheme = url.split("://", 1)[0][:20] if "://" in url else ""
            raise ConfigurationError(
                f"VAULTAK_ALERT_URLS: Apprise does not know number {position} (`{scheme}://...`); "
                "separate several by spaces, see docs/alerts.md"
            )
        found.append(service)
    if options.config is not None:
        found += _from_file(options.config, asset)
    return [Destination(service, number) for number, service in enumerate(found, 1)]


def _from_file(path: Path, asset: apprise.AppriseAsset) -> list[apprise.NotifyBase]:
    config = apprise.AppriseConfig(asset=asset)
    config.add(str(path.resolve()))
    services = list(config.services())
    if not services:
        raise ConfigurationError(f"VAULTAK_ALERT_CONFIG: no service that Apprise knows in `{path}`")
    return services
