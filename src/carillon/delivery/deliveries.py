"""The store as the pipeline sees it: claims go out a batch at a time, outcomes share a statement as sends end."""

from collections.abc import Mapping, Sequence

from carillon.delivery.domain import AlreadySent, ClaimFound
from carillon.delivery.ports import ClaimWanted, DeliveryKey, Settlement
from carillon.delivery.store import DeliveriesStore
from carillon.kit.coalescer import Coalescer


class CoalescedDeliveries:
    """`settle` flushes to the store's own `settle`."""

    def __init__(self, store: DeliveriesStore, settle: Coalescer[Settlement, bool]) -> None:
        self._store = store
        self._settle = settle

    async def claim(self, wanted: Sequence[ClaimWanted]) -> Sequence[ClaimFound]:
        return await self._store.claim(wanted)

    async def sent(self, keys: Sequence[DeliveryKey]) -> Mapping[DeliveryKey, AlreadySent]:
        return await self._store.sent(keys)

    async def settle(self, settlement: Settlement) -> bool:
        return await self._settle(settlement)
