import tomllib

import pytest

from trimtab.config.document import MODELS
from trimtab.config.draft import Draft
from trimtab.config.table import lay_tables, model_table
from trimtab.errors import BadRequest
from trimtab.models import Model, ModelTable, Upstream


def shipped() -> ModelTable:
    tables = tomllib.loads(MODELS.read_text("utf-8"))
    draft = Draft("pipelines.toml")
    lay_tables(draft, tables, {})
    table = model_table(draft, tables)
    assert draft.problems == []
    return table


TABLE = shipped()
ROWS = [row for row in TABLE.models.values() if row.name != "auto"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_model_has_sane_numbers(row: Model) -> None:
    assert row.window is not None
    assert row.max_output is not None
    assert 16_384 <= row.max_output < row.window <= 2**20
    assert row.display_name
    assert row.thinking != "none"
    if row.prices is not None:
        assert 0 < row.prices.cached < row.prices.input < row.prices.output


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_model_sees_images_or_names_one_that_does(row: Model) -> None:
    serving = TABLE.serving(row.name, images=True)
    assert serving.images
    assert not any(name == "zai-messages" for name in serving.upstreams.values())
    assert next(iter(row.upstreams)) == ("chat" if row.images else "messages")


def test_the_limits_of_the_vision_models_are_their_own() -> None:
    assert [TABLE.model(name).window for name in ("glm-4.5v", "glm-4.6v")] == [65_536, 131_072]
    assert [row.name for row in ROWS if row.prices] == ["glm-4.6"]


def test_z_ai_allows_three_at_a_time() -> None:
    assert {row.max_parallel for row in TABLE.upstreams.values() if "z.ai" in row.base_url} == {3}


@pytest.mark.parametrize(
    ("url", "given", "parallel"),
    [
        ("https://api.z.ai/api/paas/v4", None, 3),
        ("https://open.bigmodel.cn/api/paas/v4", None, 3),
        ("https://api.z.ai/api/paas/v4", 0, None),
        ("https://api.z.ai/api/paas/v4", 7, 7),
        ("https://fizz.ai/v1", None, None),
        ("http://127.0.0.1:8080", None, None),
        ("http://127.0.0.1:8080", 2, 2),
    ],
)
def test_how_many_requests_an_upstream_takes_at_a_time(url: str, given: int | None, parallel: int | None) -> None:
    assert Upstream(dialect="chat", base_url=url, max_parallel=given).parallel == parallel


@pytest.mark.parametrize(
    ("name", "images", "dialect", "target"),
    [
        ("glm-4.6", False, "chat", ("zai-messages", "glm-4.6")),
        ("glm-4.6", True, "messages", ("zai-chat", "glm-4.6v")),
        ("glm-4.5v", False, "messages", ("zai-chat", "glm-4.5v")),
        ("auto", False, "chat", ("zai-messages", "glm-4.6")),
        ("auto", True, "messages", ("zai-chat", "glm-4.6v")),
        ("unheard-of", False, "messages", ("zai-messages", "unheard-of")),
        ("unheard-of", True, "chat", ("zai-chat", "unheard-of")),
    ],
)
def test_a_name_is_resolved(name: str, images: bool, dialect: str, target: tuple[str, str]) -> None:
    found = TABLE.resolve(name, images=images, dialect=dialect)  # type: ignore[arg-type]  # as a client may say
    assert (found.upstream.name, found.model.name) == target
    assert found.dialect == found.upstream.dialect


def test_an_unknown_model_has_an_empty_row() -> None:
    assert TABLE.model("unheard-of") == Model(name="unheard-of")


def test_a_dialect_nobody_speaks_is_refused() -> None:
    table = ModelTable({"one": Upstream(dialect="chat", base_url="http://h", shipped=True)}, {})
    assert table.resolve("x", images=False, dialect="chat").upstream.name == "one"
    with pytest.raises(BadRequest, match="no upstream speaks messages: add one"):
        table.resolve("x", images=False, dialect="messages")
