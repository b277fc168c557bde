"""Signing keys: one more when the operator says so, and taken up by running processes when the file changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog

from carillon.kit.settings import SettingsError

_log = structlog.get_logger()
K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)


class KeyUser(Protocol[K_contra]):
    """Signs and verifies with the keys that it is given."""

    def use(self, keys: Sequence[K_contra]) -> None: ...


@dataclass(slots=True)
class KeyFile(Generic[K]):
    """The file as it was last read; `content` tells whether it changed without reading keys from it."""

    content: Callable[[], bytes | None]
    keys: Callable[[], Sequence[K]]
    last: bytes | None = None

    def look(self, user: KeyUser[K]) -> bool:
        """Blocking. Take up the keys of a file that changed; those of a broken one are not, and the old ones stay."""
        now = self.content()
        if now == self.last:
            return False
        self.last = now
        try:
            keys = self.keys()
        except SettingsError as error:
            _log.warning("signing_keys_unreadable", reason=str(error))
            return False
        user.use(keys)
        _log.info("signing_keys_taken_up", count=len(keys))
        return True
