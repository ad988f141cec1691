"""Counters for Prometheus."""

import re
from typing import Any

import pytest

from asgi import running
from trimtab.metrics import TYPE, text

STATE: dict[str, Any] = {
    "version": '1."0',
    "counters": {
        "requests.chat.generate": 3, "requests.messages.count": 1, "failed.rate_limit": 2, "stage_undone.log-quiet": 4,
        "stage_undone.a.b": 1, "env_dedup.bytes": 12345678901, "reloads": 1, "requests": 5, "requests.odd": 6,
        "x.y": 1, "x_y": 2,
    },
    "memo": {"messages": 7, "hits": 8},
    "upstreams": {"a": {"dialect": "chat", "base_url": "http://a.test", "requests": 2, "error": None}},
}  # fmt: skip
LINE = re.compile(r'(# TYPE [a-z_:]+ (counter|gauge)|[a-z_]+(\{[a-z_]+="(\\.|[^"\\])*"(,[a-z_]+="[^"]*")*\})? \d+)')


def test_names_labels_and_values() -> None:
    lines = text(STATE, 9).splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    for line in (
        'trimtab_info{version="1.\\"0"} 1',
        "trimtab_requests_under_way 9",
        'trimtab_requests_total{dialect="chat",operation="generate"} 3',
        'trimtab_failed_total{cause="rate_limit"} 2',
        'trimtab_stage_undone_total{stage="log-quiet"} 4',
        'trimtab_stage_undone_total{stage="a.b"} 1',
        "trimtab_env_dedup_bytes_total 12345678901",
        "trimtab_requests_odd_total 6",
        "trimtab_x_y_total 3",
        "trimtab_memo_messages 7",
        "trimtab_memo_hits_total 8",
        'trimtab_upstream_requests{upstream="a"} 2',
    ):
        assert line in lines


def test_of_several_workers_each_sample_says_which_one_told_it() -> None:
    one = {"worker": {"number": 2, "of": 3, "pid": 7}}
    samples = [line for line in text({**STATE, **one}, 9).splitlines() if not line.startswith("#")]
    assert [line for line in samples if not LINE.fullmatch(line) or 'worker="2"' not in line] == []
    assert 'trimtab_requests_total{dialect="chat",operation="generate",worker="2"} 3' in samples
    assert "worker" not in text({**STATE, "worker": {"number": 1, "of": 1, "pid": 7}}, 9)


def test_each_family_is_told_once_with_its_samples_behind_it() -> None:
    lines = text(STATE, 0).splitlines()
    heads = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))
    family = ""
    for line in lines:
        if line.startswith("#"):
            family = line.split()[2]
        else:
            assert re.split(r"[ {]", line)[0] == family


def test_no_address_is_among_them() -> None:
    assert "a.test" not in text(STATE, 0)


@pytest.mark.anyio
async def test_it_is_served() -> None:
    async with running() as proxy:
        await proxy.post("/v1/messages", b"{}")
        told = await proxy.get("/metrics")
    assert told.headers["content-type"] == TYPE
    assert b'trimtab_refused_total{cause="malformed"} 1\n' in told.body
