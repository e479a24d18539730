"""How often a client may ask, which names a server has, and how texts become batches, against slow references."""

import asyncio
from collections import deque
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.errors import ConfigError
from nmt.serve.batching import Batcher, Job
from nmt.serve.config import ServeOptions
from nmt.serve.limits import CLIENTS, RateLimit, allowed_names, host_name


class Bucket:
    """The same limit told as a bucket: it holds ``per_minute`` tokens, a request takes one, and they drip back in."""

    def __init__(self, per_minute: int) -> None:
        self.size, self.tokens, self.at = per_minute, Fraction(per_minute), Fraction(0)

    def take(self, now: Fraction) -> Fraction:
        """0 if there was a token, else the seconds until there is one."""
        self.tokens = min(Fraction(self.size), self.tokens + (now - self.at) * self.size / 60)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return Fraction(0)
        return (1 - self.tokens) * 60 / self.size


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 20), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=80))
def test_the_rate_is_that_of_a_bucket_for_each_client(per_minute, asked):
    """Whatever the pauses (in seconds): so many at once, then one whenever a token is there."""
    now = Fraction(0)
    limit = RateLimit(per_minute, lambda: float(now))
    buckets = {client: Bucket(per_minute) for client in "ab"}
    for client, pause in asked:
        now += pause
        assert limit.wait(client) == pytest.approx(float(buckets[client].take(now)), abs=1e-6)


def test_any_number_of_requests_and_a_bounded_number_of_clients():
    unlimited, limit = RateLimit(None, lambda: 0.0), RateLimit(1, lambda: 0.0)
    assert not any(unlimited.wait("a") for _ in range(1000))
    for n in range(CLIENTS + 100):
        limit.wait(f"client {n}")
    assert len(limit.rested) == CLIENTS
    assert limit.wait(f"client {CLIENTS + 99}") > 0


def test_a_client_cannot_become_another_by_what_it_chooses_itself():
    """A network of IPv6 has 2^64 addresses, and an IPv4 address may come written as an IPv6 one."""
    for one, other, same in (
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("unix", "unix", True),
    ):
        limit = RateLimit(1, lambda: 0.0)
        limit.wait(one)
        assert (limit.wait(other) > 0) == same, (one, other)


def test_a_server_that_others_can_reach_has_any_name_unless_it_is_told():
    assert allowed_names([], "0.0.0.0") is None
    assert allowed_names([], "192.168.0.2") is None
    assert allowed_names(["A.example"], "192.168.0.2") == {"a.example"}
    local = {"localhost", "127.0.0.1", "[::1]"}
    assert allowed_names([], "127.0.0.1") == allowed_names([], "::1") == local
    assert allowed_names([], "127.0.0.9") == local | {"127.0.0.9"}
    assert [host_name(h) for h in ("A.b:80", "[::1]:80", "a..", "a:b", "a:1:2", "", "a b:1", "[::1")] == [
        *("a.b", "[::1]", "a.", None, None, None, "a b", None),
    ]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=30), st.integers(1, 5), st.integers(1, 12))
def test_batches_are_in_order_and_as_large_as_they_may_be(lengths, max_batch, max_chars):
    """No text is left out; a text that is longer than a batch may be is one by itself."""
    options = ServeOptions(max_batch=max_batch, max_chars=max_chars)
    jobs = [Job("x" * n, 1, False, 0.0, cast(Any, None)) for n in lengths]
    queue = cast(Batcher, SimpleNamespace(waiting=deque(jobs), options=options))
    batches = []
    while queue.waiting:
        batches.append(Batcher.take(queue))
    assert [job for batch in batches for job in batch] == jobs
    sizes = [sum(len(job.text) for job in batch) for batch in batches]
    for batch, size, after in zip(batches, sizes, [*batches[1:], None], strict=True):
        assert 1 <= len(batch) <= max_batch
        assert size <= max_chars or len(batch) == 1
        assert after is None or len(batch) == max_batch or size + len(after[0].text) > max_chars


def test_nobody_waits_for_others_longer_than_said():
    """A lone text is begun although its batch is not full, and one that comes later goes into the next batch."""
    begun: list[list[str]] = []

    async def main() -> list[str]:
        def translate(jobs):
            begun.append([job.text for job in jobs])
            return [job.text.upper() for job in jobs]

        batcher = Batcher(translate, ServeOptions(wait_ms=1))
        first = await batcher.submit(["a"], 1, False)
        then = await batcher.submit(["b", "c"], 1, False)
        await batcher.close()
        assert not batcher.alive()
        return first + then

    assert asyncio.run(main()) == ["A", "B", "C"]
    assert begun == [["a"], ["b", "c"]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"port": 65_536}, "serve.port must be 0 to 65535"),
        ({"wait_ms": -1.0}, "serve.wait_ms must be 0 to 10000"),
        ({"max_batch": 0}, "serve.max_batch must be 1 to 10000"),
        ({"per_minute": 0}, "serve.per_minute must be 1 to 1000000"),
        ({"read_seconds": 0.0}, "serve.read_seconds must be above 0"),
        ({"host": " "}, "serve.host is empty"),
        ({"names": [""]}, "serve.names is empty"),
        ({"proxies": ["10.0.0.1", ""]}, "serve.proxies is empty"),
        ({"max_texts": 200, "max_waiting": 100}, "serve.max_texts=200 is above serve.max_waiting=100"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        ServeOptions(**values)
