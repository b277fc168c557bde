"""FCM HTTP v1: one request per device; dead devices are told to users."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from carillon.contracts.users import DeviceGone
from carillon.delivery.domain import Failed, ProviderAnswer
from carillon.delivery.ports import Terms
from carillon.kit.http.client import ServiceRefused, ServiceUnavailable
from carillon.push_worker.channel import Push
from carillon.push_worker.domain import DeviceAnswer, Gone, of_all, of_device, redacted, refuses_bearer
from carillon.push_worker.providers.oauth import AccessTokens, AuthenticationFailed

_log = structlog.get_logger()
_TELLING_SECONDS = 3.0


class FcmProvider:
    """`url` is FCM's root; `device_gone` tells users, and its failure is no failure of the push."""

    name = "fcm"
    terms = Terms()

    def __init__(
        self,
        session: aiohttp.ClientSession,
        tokens: AccessTokens,
        *,
        url: str,
        project: str,
        device_gone: Callable[[DeviceGone], Awaitable[None]],
        seconds: float = 10,
    ) -> None:
        self._session = session
        self._tokens = tokens
        self._url = f"{url.rstrip('/')}/v1/projects/{quote(project, safe='')}/messages:send"
        self._device_gone = device_gone
        self._deadline = aiohttp.ClientTimeout(total=seconds)

    async def send(self, push: Push) -> ProviderAnswer:
        answers = await asyncio.gather(*(self._to(token, push) for token in push.tokens))
        gone = [
            DeviceGone(push.user_id, token, answer.reason)
            for token, answer in zip(push.tokens, answers, strict=True)
            if isinstance(answer, Gone)
        ]
        await asyncio.gather(*(self._tell(device) for device in gone))
        return of_all(answers)

    async def _to(self, token: str, push: Push) -> DeviceAnswer:
        """A bearer token that was refused is renewed once."""
        body = msgspec.json.encode({"message": {"token": token, **push.message}})
        try:
            bearer = await self._tokens.token()
            status, headers, said = await self._post(bearer, body)
            if refuses_bearer(status, said):
                status, headers, said = await self._post(await self._tokens.token(instead_of=bearer), body)
        except AuthenticationFailed as error:
            return Failed("fcm_authentication_failed", str(error), down=True)
        except aiohttp.ClientConnectorError as error:
            return Failed("fcm_unreachable", type(error).__name__, down=True)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Failed("fcm_unreachable", type(error).__name__, down=True, unknown=True)
        return redacted(of_device(status, headers, said), token)

    async def _post(self, bearer: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        async with self._session.post(
            self._url, data=body, headers=headers, timeout=self._deadline, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers, await answer.read()

    async def _tell(self, device: DeviceGone) -> None:
        try:
            async with asyncio.timeout(_TELLING_SECONDS):
                await self._device_gone(device)
        except (ServiceUnavailable, ServiceRefused, TimeoutError) as error:
            _log.warning("dead_device_not_told", user_id=str(device.user_id), error=type(error).__name__)
