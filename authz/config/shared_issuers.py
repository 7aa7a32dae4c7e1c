"""Issuers that anyone can get a JWT from, and the patterns that keep strangers out."""

import re
from collections.abc import Mapping

_EXACT = re.compile(r"[^*?]+")
_BELOW = re.compile(r"[^*?/]+/.*|[^*?]+")
"""An owner in full before the first wildcard: ``acme*`` would also mean ``acme-evil``."""

_SHARED: dict[str, dict[str, re.Pattern[str]]] = {
    "https://token.actions.githubusercontent.com": {
        "sub": re.compile(
            r"repo:[^*?/:]+/.*|repository_owner(_id)?:[^*?:]+:.*|repository_id:[^*?:]+:.*|[^*?]+"
        ),
        "repository": _BELOW,
        "repository_id": _EXACT,
        "repository_owner": _EXACT,
        "repository_owner_id": _EXACT,
    },
    "https://gitlab.com": {
        "sub": re.compile(r"project_path:[^*?/:]+/.*|[^*?]+"),
        "project_path": _BELOW,
        "project_id": _EXACT,
        "namespace_path": _BELOW,
        "namespace_id": _EXACT,
    },
    "https://accounts.google.com": {
        "sub": _EXACT,
        "email": re.compile(r"[^?]*@[^*?]+"),
        "hd": _EXACT,
    },
    "https://app.terraform.io": {
        "sub": re.compile(r"organization:[^*?:]+:.*|[^*?]+"),
        "terraform_organization_id": _EXACT,
        "terraform_organization_name": _EXACT,
    },
    "https://agent.buildkite.com": {
        "sub": re.compile(r"organization:[^*?:]+:.*|[^*?]+"),
        "organization_id": _EXACT,
        "organization_slug": _EXACT,
    },
}
"""For each issuer the claims that say whose a JWT is, with the patterns that name an owner."""


def too_wide(issuer: str, patterns: Mapping[str, str]) -> str | None:
    """Return the problem with a rule whose patterns let strangers in, or None.

    Args:
        issuer: URL of the issuer.
        patterns: the patterns by the name of the claim, with dots between nested names.
    """
    shared = _SHARED.get(issuer.rstrip("/"))
    if shared is None:
        # The first letters of a pattern say what it is about.
        if any(pattern[0] not in "*?" for pattern in patterns.values()):
            return None
        return (
            "at least one pattern must begin with text, such as {sub: system:serviceaccount:ci:*}: "
            "otherwise every workload of the issuer gets a token"
        )
    for claim, owner in shared.items():
        if claim in patterns and owner.fullmatch(patterns[claim]):
            return None
    return (
        f"anyone can get a JWT from {issuer}: name the owner in full, before any wildcard, in one "
        f"of {', '.join(shared)}"
    )
