"""Keeps the leases of a living consumer alive, all of a process's claims in one statement."""

import asyncio

import structlog

from carillon.kit.broker.port import BrokerUnavailable
from carillon.kit.broker.postgres.store import Claim, MessageStore

log = structlog.get_logger(__name__)

RENEWALS_PER_LEASE = 3


class Leases:
    """The claims this process works on; `renew_until_cancelled` is run by the adapter for as long as it is open."""

    def __init__(self, store: MessageStore, *, seconds: float) -> None:
        self.seconds = seconds
        self._store = store
        self._held: dict[int, Claim] = {}

    def hold(self, claim: Claim) -> None:
        self._held[claim.lease] = claim

    def let_go(self, claim: Claim) -> None:
        self._held.pop(claim.lease, None)

    async def renew_until_cancelled(self) -> None:
        while True:
            await asyncio.sleep(self.seconds / RENEWALS_PER_LEASE)
            if self._held:
                await self._renew()

    async def _renew(self) -> None:
        pairs = [(row.seq, claim.lease) for claim in self._held.values() for row in claim.rows]
        try:
            await self._store.renew(
                [seq for seq, _ in pairs], [lease for _, lease in pairs], lease_seconds=self.seconds
            )
        except BrokerUnavailable as error:
            log.warning("broker_leases_not_renewed", messages=len(pairs), error=str(error))
