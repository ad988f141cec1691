"""The line of an exchange, and what must never be in it."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from trimtab.api import (
    BadRequest,
    ConfigError,
    Event,
    Exchange,
    Finished,
    Model,
    Refused,
    Started,
    StopReason,
    Target,
    TextDelta,
    Upstream,
    UpstreamError,
    Usage,
    replace,
)
from trimtab.testing import StageBench
from trimtab_stages.auth import Auth, AuthOptions
from trimtab_stages.log import Log, LogOptions
from trimtab_stages.log_bodies import UpstreamLog

pytestmark = pytest.mark.anyio

PROMPT = "the secret plan is to paint it blue"
BODY = {"model": "small", "messages": [{"role": "user", "content": PROMPT}]}
USAGE = Usage(input=100, cache_read=900, output=20)
KEYS = ("sk-bearer-secret", "sk-header-secret", "sk-upstream-secret", "sk-server-secret", "sk-query-secret")


@pytest.fixture
def said() -> Iterator[list[Any]]:
    records: list[Any] = []
    sink = logger.add(lambda message: records.append(message.record), level="TRACE")
    yield records
    logger.remove(sink)


def ended(bench: StageBench, **outcome: Any) -> Exchange:
    """An exchange that went to the upstream and back."""
    exchange = bench.exchange(BODY, headers={"authorization": "Bearer sk-bearer-secret"})
    told: dict[str, Any] = {"status": 200, "usage": USAGE, "sent_bytes": 70, "received_bytes": 50}
    for name, value in {**told, "first_byte_s": 0.4, "total_s": 2.5, **outcome}.items():
        setattr(exchange.outcome, name, value)
    exchange.timings = [("auth", 0.0001), ("condense", 0.0002)]
    return exchange


async def lines(said: list[Any], exchange_of: Any = ended, outcome: Any = None, **options: Any) -> list[Any]:
    async with StageBench(Log(LogOptions(**options))) as bench:
        bench.done(exchange_of(bench, **(outcome or {})))
    return said


def values(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = record["extra"]["exchange"]
    return found


async def test_a_request_that_went_nowhere_is_not_asked_for_its_target(said: list[Any]) -> None:
    def refused(bench: StageBench) -> Exchange:
        exchange = ended(bench, sent_bytes=0, error=Refused("no"), usage=None)
        exchange._resolve = lambda exchange: pytest.fail("asked")
        return exchange

    def lost(bench: StageBench) -> Exchange:
        exchange = ended(bench)

        def nowhere(exchange: Exchange) -> Any:
            raise BadRequest("nobody speaks it")

        exchange._resolve = nowhere
        return exchange

    await lines(said, refused)
    await lines(said, lost)
    assert [values(record).get("target") for record in said] == [None, None]


async def test_keys_and_prompts_never_appear(
    tmp_path: Path, said: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    auth = Auth(AuthOptions(server_key=KEYS[3]))
    stderr = logger.add(lambda message: print(message), level="TRACE", diagnose=True, serialize=True)
    upstream = UpstreamLog(file=str(tmp_path / "bodies.jsonl"))
    async with StageBench(auth, Log(LogOptions(detail="full", level="TRACE", upstream=upstream))) as bench:
        headers = {"authorization": f"Bearer {KEYS[0]}", "x-api-key": KEYS[1], "x-upstream-key": KEYS[2]}
        exchange = bench.exchange(BODY, headers=headers)
        exchange.incoming = type(exchange.incoming)("POST", "/v1/chat", f"key={KEYS[4]}", headers)
        await bench.request(exchange)
        bench.events(exchange, TextDelta(PROMPT))
        exchange.outcome.sent_bytes = 9
        exchange.outcome.error = UpstreamError(f"bad key {KEYS[2]} for {PROMPT}", status=401, body=KEYS[2].encode())
        bench.done(exchange)
    logger.remove(stderr)
    shown = repr(said) + "".join(capfd.readouterr()) + repr(exchange.facts().keys())
    assert len(said) == 1
    assert [word for word in (*KEYS, PROMPT) if word in shown] == []
    assert [key for key in KEYS if key in (tmp_path / "bodies.jsonl").read_text()] == []


async def test_events_are_wanted_only_for_bodies(tmp_path: Path) -> None:
    assert Log(LogOptions()).wants == frozenset()
    assert TextDelta in Log(LogOptions(upstream=UpstreamLog(file=str(tmp_path / "b")))).wants
    assert Log.wants == frozenset()


async def test_bodies_are_kept_whole(tmp_path: Path, said: list[Any]) -> None:
    file = tmp_path / "logs" / "bodies.jsonl"
    async with StageBench(Log(LogOptions(upstream=UpstreamLog(file=str(file))))) as bench:
        exchange = ended(bench)
        exchange.set_member("top_k", 1, "a quirk")
        told: tuple[Event, ...] = (Started("msg_1", "small-1"), TextDelta("bl"), TextDelta("ue"))
        told = (*told, Finished(StopReason.END, usage=USAGE))
        assert bench.events(exchange, *told) == [*told]
        bench.done(exchange)
    sent, reply = map(json.loads, file.read_text().splitlines())
    assert sent["body"] == {**BODY, "top_k": 1}
    assert [sent[name] for name in ("id", "direction", "upstream", "model", "dialect")] == [
        "req_test",
        "request",
        "text",
        "small",
        "chat",
    ]
    assert sent["time"] == bench.clock.now()
    assert reply["direction"] == "reply"
    assert reply["body"]["content"] == [{"type": "text", "text": "blue"}]
    assert reply["body"]["usage"]["cache_read"] == 900
    assert [record["extra"].get("bodies") for record in said] == [None]


@pytest.mark.parametrize(("dialect", "again"), [("messages", False), ("chat", True)])
async def test_what_left_in_another_form_is_kept_as_it_left(tmp_path: Path, dialect: Any, again: bool) -> None:
    file = tmp_path / "bodies.jsonl"
    async with StageBench(Log(LogOptions(upstream=UpstreamLog(file=str(file))))) as bench:
        other = Upstream(name="other", dialect=dialect, base_url="http://other.test")
        exchange, plain = ended(bench), ended(bench)
        exchange.aim(Target(other, Model(name="m")))
        exchange.sent = b'{"max_tokens": 1}'
        exchange.first_sent = b"{}" if again else exchange.sent
        bench.done(exchange)
        plain.aim(Target(replace(other, dialect="chat"), Model(name="m")))
        plain.sent = plain.first_sent = b"{}"
        bench.done(plain)
    request, left, same = map(json.loads, file.read_text().splitlines())
    assert [line["direction"] for line in (request, left, same)] == ["request", "sent", "request"]
    assert (left["dialect"], left["body"], left["upstream"]) == (dialect, {"max_tokens": 1}, "other")


async def test_an_upstreams_refusal_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "bodies.jsonl"
    async with StageBench(Log(LogOptions(upstream=UpstreamLog(file=str(file))))) as bench:
        bench.done(ended(bench, error=UpstreamError("no", status=400, body=b'{"error": "no"}')))
        bench.done(ended(bench, error=UpstreamError("no", status=502, body=b"<html>")))
        bench.done(ended(bench, sent_bytes=0))
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["direction"] for line in kept] == ["request", "reply", "request", "reply"]
    assert kept[1]["body"] == {"error": "no"}
    assert kept[3]["base64"] == "PGh0bWw+"


async def test_a_request_that_was_changed_is_kept_as_it_came_too(tmp_path: Path) -> None:
    file = tmp_path / "bodies.jsonl"
    async with StageBench(Log(LogOptions(upstream=UpstreamLog(file=str(file), received=True)))) as bench:
        bench.done(ended(bench))
        changed = ended(bench)
        changed.set_member("top_k", 1, "a quirk")
        bench.done(changed)
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["direction"] for line in kept] == ["request", "received", "request"]
    assert [line["body"] for line in kept] == [BODY, BODY, {**BODY, "top_k": 1}]


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("name", ["folder", " ", "file/below"])
async def test_a_file_that_cannot_be_written_stops_the_start(name: str, dry: bool, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    file = str(tmp_path / name) if name.strip() else name
    with pytest.raises(ConfigError, match=r"log\.upstream\.file"):
        await StageBench(Log(LogOptions(upstream=UpstreamLog(file=file))), dry=dry).__aenter__()


async def test_a_trial_makes_no_file_and_writes_nothing(tmp_path: Path, said: list[Any]) -> None:
    for options in (LogOptions(upstream=UpstreamLog(file=str(tmp_path / "new" / "bodies.jsonl"))), LogOptions()):
        async with StageBench(Log(options), dry=True) as bench:
            bench.done(ended(bench))
    assert (os.listdir(tmp_path), said) == ([], [])


def assert_(condition: bool) -> None:
    assert condition


async def test_dropped_records_are_counted() -> None:
    stage = Log(LogOptions(level="CRITICAL"))
    async with StageBench(stage) as bench:
        assert stage._writer is not None
        stage._writer._limit = 0
        gate = threading.Event()
        stage._writer._write = lambda record: assert_(gate.wait(10))
        bench.done(ended(bench))
        bench.done(ended(bench))
        gate.set()
    assert bench.services.counters.snapshot() == {"log_dropped": 1}


async def test_before_its_start_and_after_its_stop_it_says_nothing(said: list[Any]) -> None:
    bench = StageBench(Log(LogOptions()))
    bench.done(ended(bench))
    async with bench:
        pass
    bench.done(ended(bench))
    await asyncio.sleep(0)
    assert said == []
