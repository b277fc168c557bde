"""Removes homes outside the data folder whose data folder was deleted, and never one that may come back."""

import shutil
import time
from pathlib import Path

import structlog

from carillon.kit.embedded_postgres.folder import DataFolder
from carillon.kit.embedded_postgres.home import LIFE_LINE, OWNER_FILE, read_owner
from carillon.kit.embedded_postgres.survivors import processes_of

KEPT_S = 7 * 24 * 3600

log = structlog.get_logger(__name__)


def sweep(shelter: Path, folder: DataFolder) -> None:
    """Remove the homes below `shelter` that nobody owns any more: those of the predecessors of `folder`, which is
    new, at once, and all others when nobody used them for a week.
    """
    for home in shelter.iterdir():
        kept_s = 0 if _is_of_predecessor(home, folder) else KEPT_S
        if _is_orphan(home, kept_s) and not processes_of(home):
            shutil.rmtree(home, ignore_errors=True)
            log.info("embedded_postgres_orphan_removed", home=str(home))


def _is_of_predecessor(home: Path, folder: DataFolder) -> bool:
    """Tell whether `home` was last used from the path of `folder`, by a data folder of another identity."""
    owner = read_owner(home)
    if owner is None or owner.data_dir != folder.path:
        return False
    return not folder.identity_file.exists() or folder.identity().id != owner.id


def _is_orphan(home: Path, kept_s: float) -> bool:
    """Decide by the second name of the data folder's lock file, which a moved data folder keeps.

    The time it is kept is for a data folder that was carried to another disk and is not used again at once.
    """
    try:
        names = (home / LIFE_LINE).stat().st_nlink
        last_start = (home / OWNER_FILE).stat().st_mtime
    except OSError:
        return False
    return names == 1 and time.time() - last_start >= kept_s
