"""Account mails as notifications: urgent e-mails in a category that nobody can opt out of."""

from uuid import UUID

from carillon.contracts.notifications import NotificationAccepted, NotificationRequested
from carillon.kit.http.client import ServiceClient, ServiceRefused, ServiceUnavailable
from carillon.users.actions.mailing import GatewayAway, MailRefused
from carillon.users.domain.account_mail import Mail

_URGENT = 9
_FOR_EVER = frozenset({"user_not_found", "validation_failed", "request_id_reused", "request_id_spent"})


class NotificationGateway:
    """Speaks to the gateway with the service's own token."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def send(self, mail_id: UUID, mail: Mail) -> None:
        """Once, however often it is called with this id."""
        body = NotificationRequested(
            notification_type="email",
            user_id=mail.user_id,
            template_code=mail.template_code,
            variables={"name": mail.name, "link": mail.link},
            request_id=str(mail_id),
            priority=_URGENT,
            category=mail.category,
        )
        try:
            await self._client.data("POST", "/api/v1/notifications", NotificationAccepted, body=body)
        except ServiceUnavailable as error:
            raise GatewayAway(str(error)) from error
        except ServiceRefused as error:  # a token or a template that is not there yet may come
            if error.code in _FOR_EVER:
                raise MailRefused(error.code) from error
            raise GatewayAway(error.code) from error
