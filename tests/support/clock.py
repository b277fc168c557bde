"""A process that lives at another time: Debian's faketime, fetched as the servers are where it is not installed."""

from tests.support.packages import package

_LIBRARY = "usr/lib/*/faketime/libfaketimeMT.so.1"


def at_another_time(seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is so many seconds ahead; how fast time passes stays as it is."""
    library = package("faketime", marker=_LIBRARY).glob(_LIBRARY)
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
