"""Findings: settings that manifests lack, with the consequences."""

from dataclasses import dataclass

from authz.manifests.documents import Manifest


@dataclass(frozen=True)
class Finding:
    """A setting that manifests lack.

    Attributes:
        place: the file and the object; empty if no file has the object.
        setting: the setting to make, such as ``spec.extAuth.statusOnError: 503``.
        cost: what happens without it.
    """

    place: str
    setting: str
    cost: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.setting, self.cost) if part)

    def as_json(self) -> dict[str, str]:
        """Return the finding for JSON."""
        return {"place": self.place, "setting": self.setting, "cost": self.cost}


def finding(manifest: Manifest, setting: str, cost: str) -> Finding:
    """Return a finding about a manifest."""
    return Finding(manifest.place, setting, cost)


FAIL_OPEN = "requests reach the provider with the Coder token on them while authz is down"
STATUS = "clients get 403 instead of 503 while authz is down, and do not try again"
HIDDEN_HEADERS = "authz does not see every header, so it answers each request with 503"
BODY = "the gateway keeps each body in memory, and authz refuses to read any"
OTHER_ROUTE = "a header of the answer can lead the request with the central key to another route"
COOKIES = "the provider's set-cookie and alt-svc reach the client"
MIRROR = "the second backend gets the central key, too"
UNASKED = "requests reach the provider unchecked, with the Coder token on them"
IN_CLEAR = "Coder tokens and central keys cross the network in clear"
PROVIDER_IN_CLEAR = "the central key crosses the network in clear"
NO_LOG = "authz usage counts the requests, but their status and tokens stay unknown"
