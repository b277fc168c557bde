"""Removes homes outside the data folder whose data folder is gone, and never one that may come back."""

import shutil
from pathlib import Path

import structlog

from carillon.kit.embedded_postgres.folder import DataFolder
from carillon.kit.embedded_postgres.home import Owner, place_of, read_owner
from carillon.kit.embedded_postgres.survivors import processes_of

log = structlog.get_logger(__name__)


def sweep(shelter: Path) -> None:
    """Remove the homes below `shelter` whose data folder was deleted, or replaced by a new one."""
    for home in shelter.iterdir():
        owner = read_owner(home)
        if owner is not None and _was_deleted(owner, home) and not processes_of(home):
            shutil.rmtree(home, ignore_errors=True)
            log.info("embedded_postgres_orphan_removed", home=str(home))


def _was_deleted(owner: Owner, home: Path) -> bool:
    """Decide whether the data folder is gone for good, as opposed to lying on a disk that is not mounted now.

    Gone for good: the nearest folder above it that still exists is the same one (device and inode) as when the
    home was made, and the data folder was on that same device.
    """
    pointer = DataFolder(owner.data_dir, lock=-1).pointer
    if pointer.is_symlink() and pointer.resolve() == home:
        return False
    nearest = next((parent for parent in owner.data_dir.parents if parent.exists()), Path("/"))
    recorded = owner.above.get(str(nearest))
    direct_parent = owner.above.get(str(owner.data_dir.parent))
    if recorded is None or direct_parent is None:
        return False
    return place_of(nearest) == recorded and direct_parent[0] == recorded[0]
