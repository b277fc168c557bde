"""Removes homes outside the data folder whose data folder was deleted, and never one that may come back."""

import shutil
import time
from pathlib import Path

import structlog

from carillon.kit.embedded_postgres.home import LIFE_LINE, OWNER_FILE
from carillon.kit.embedded_postgres.survivors import processes_of

KEPT_S = 7 * 24 * 3600

log = structlog.get_logger(__name__)


def sweep(shelter: Path) -> None:
    """Remove the homes below `shelter` that nobody owns any more and nobody used for a week."""
    for home in shelter.iterdir():
        if _is_orphan(home) and not processes_of(home):
            shutil.rmtree(home, ignore_errors=True)
            log.info("embedded_postgres_orphan_removed", home=str(home))


def _is_orphan(home: Path) -> bool:
    """Decide by the second name of the data folder's lock file, which a moved data folder keeps.

    The week is for a data folder that was carried to another disk and is not used again at once.
    """
    try:
        names = (home / LIFE_LINE).stat().st_nlink
        last_start = (home / OWNER_FILE).stat().st_mtime
    except OSError:
        return False
    return names == 1 and time.time() - last_start > KEPT_S
