"""Each stage removed alone, each pair of neighbours swapped: right answers, or an error that names the word."""

from pathlib import Path

import msgspec
import pytest

from trimtab.config import load
from trimtab.errors import ConfigError
from wire.harness import Proxy, post, proxying
from wire.scripted import playing

pytestmark = pytest.mark.anyio

STAGES = ("auth", "env-dedup", "image-aging", "token-count", "risk-assess", "condense", "route", "scale", "log")
REMOVED = [tuple(stage for stage in STAGES if stage != gone) for gone in STAGES]
SWAPPED = [(*STAGES[:i], STAGES[i + 1], STAGES[i], *STAGES[i + 2 :]) for i in range(len(STAGES) - 1)]
NEEDS = (("risk-assess", "token-count"), ("condense", "token-count"), ("condense", "risk-assess"))
"""Stages that cannot do without another one in front of them."""
BODY = b'{"model":"glm-4.6","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'


def chain(stages: tuple[str, ...]) -> str:
    """A pipelines.toml with these stages."""
    return f"[pipeline.default]\nstages = [{', '.join(repr(stage) for stage in stages)}]\n"


@pytest.mark.parametrize("stages", [STAGES, *REMOVED, *SWAPPED], ids=" ".join)
async def test_a_session_gets_right_answers(tmp_path: Path, stages: tuple[str, ...]) -> None:
    if unmet := [(stage, need) for stage, need in NEEDS if stage in stages and need not in before(stage, stages)]:
        refused(tmp_path, stages, *unmet[0])
        return
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=chain(stages)) as proxy:
        answer = await post(proxy.url, "/v1/messages", BODY, {"x-api-key": "sk-own"})
        assert answer.status == 200
        assert upstream.sent[0].body == BODY
        assert upstream.sent[0].headers["x-api-key"] == "sk-own"
        assert await counted(proxy) == ("token-count" in stages)


def before(stage: str, stages: tuple[str, ...]) -> tuple[str, ...]:
    """The stages in front of one."""
    return stages[: stages.index(stage)]


def refused(folder: Path, stages: tuple[str, ...], stage: str, need: str) -> None:
    """The order cannot work, and the error names the word to move, or to delete."""
    path = folder / "pipelines.toml"
    path.write_text(chain(stages))
    remedy = f"move '{need}' before '{stage}', or delete" if need in stages else f"write '{need}'"
    with pytest.raises(ConfigError, match=f"stage '{stage}' needs .*{remedy}"):
        load(path, {})


async def counted(proxy: Proxy) -> bool:
    """Whether tokens are counted; where not, the error names the word to add."""
    answer = await post(proxy.url, "/v1/messages/count_tokens", BODY, {"x-api-key": "sk-own"})
    if answer.status == 200:
        return bool(msgspec.json.decode(answer.body)["input_tokens"] > 0)
    assert (answer.status, "add 'token-count'" in answer.json["error"]["message"]) == (501, True)
    return False


def test_a_server_key_needs_auth(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.toml"
    path.write_text(chain(REMOVED[0]))
    with pytest.raises(ConfigError, match="auth"):
        load(path, {"SERVER_API_KEY": "sk-server"})


async def test_a_named_pipeline_has_its_own_address(tmp_path: Path) -> None:
    text = chain(STAGES) + '[pipeline.plain]\nstages = ["auth"]\n'
    async with playing() as upstream, proxying(tmp_path, upstream.url, pipelines=text) as proxy:
        body = BODY.replace(b"glm-4.6", b"glm-4.6-openai")
        chat = await post(proxy.url, "/p/plain/v1/chat/completions", body)
        assert chat.status == 200
        assert upstream.sent[0].body == body
        await post(proxy.url, "/v1/chat/completions", body)
        assert b'"glm-4.6"' in upstream.sent[1].body
