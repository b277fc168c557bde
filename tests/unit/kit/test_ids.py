"""UUIDv7 keys: valid, ordered by time, and reversible to their time."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from carillon.kit.ids import born_at, first_key_of, uuid7, uuid7_hex


@given(st.integers(min_value=0, max_value=(1 << 48) - 1))
def test_a_key_is_a_version_7_uuid_that_carries_its_time(milliseconds: int) -> None:
    key = uuid7(milliseconds)
    assert (key.version, key.variant) == (7, "specified in RFC 4122")
    assert key.int >> 80 == milliseconds


@given(st.integers(0, 1 << 47), st.integers(1, 1 << 40))
def test_a_later_key_sorts_after_an_earlier_one(milliseconds: int, later: int) -> None:
    assert uuid7(milliseconds) < uuid7(milliseconds + later)


def test_the_first_key_of_a_moment_bounds_all_keys_from_then_on() -> None:
    moment = datetime(2026, 12, 1, tzinfo=UTC)
    milliseconds = int(moment.timestamp() * 1000)
    assert uuid7(milliseconds - 1) < first_key_of(moment) <= uuid7(milliseconds)
    assert born_at(uuid7(milliseconds)) == moment


def test_keys_made_in_one_millisecond_differ() -> None:
    assert len({uuid7(1) for _ in range(1000)}) == 1000


def test_the_text_of_a_key_is_a_key() -> None:
    before = time.time_ns() // 1_000_000
    key = UUID(hex=uuid7_hex())
    assert (key.version, key.variant, len(uuid7_hex())) == (7, "specified in RFC 4122", 32)
    assert before <= key.int >> 80 <= time.time_ns() // 1_000_000


def test_threads_do_not_share_a_key() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [key for keys in threads.map(lambda _: [uuid7(1) for _ in range(2_000)], range(8)) for key in keys]
    assert len(set(made)) == 16_000


FORKING = """
import os
from carillon.kit.ids import uuid7
uuid7()
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.write(writing, uuid7(1).bytes)
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reading, 16) in {uuid7(1).bytes for _ in range(300)})
"""


def test_a_forked_process_does_not_repeat_the_keys_of_its_parent() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "False\n"
