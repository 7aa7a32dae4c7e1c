"""Settings of the notices about budgets and central keys."""

from authz.config.fields import Section
from authz.config.webhook import Webhook


class Notices(Section):
    """Notices of budgets that are reached, and of providers whose central keys all rest.

    Attributes:
        webhook: the receiver of the notices (docs/budgets.md).
    """

    webhook: Webhook
