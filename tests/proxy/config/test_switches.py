"""Rows that are switched off."""

from collections.abc import Callable

import pytest

from trimtab.config import Config
from trimtab.models import ModelTable

Loader = Callable[..., Config]
Failing = Callable[..., tuple[str, ...]]

OWN = '[upstream.local]\ndialect = "chat"\nbase-url = "http://127.0.0.1:8080"\n'
OFF = "[upstream.zai-messages]\nenabled = false\n[upstream.zai-chat]\nenabled = false\n"


def places(models: ModelTable) -> set[str]:
    """Where requests for every model go, with and without images, from clients of either dialect."""
    return {
        models.resolve(name, images=images, dialect=dialect).upstream.name
        for name in (*models.models, "without-a-row")
        for images in (True, False)
        for dialect in ("chat", "messages")
    }


def test_with_the_shipped_upstreams_off_everything_goes_to_ones_own(read: Loader) -> None:
    config = read(OWN + OFF)
    assert places(config.models) == {"local"}
    assert not any("shipped" in note for note in config.hints)
    assert config.models.models["glm-4.6"].window == 204_800


def test_with_them_on_a_note_names_them(read: Loader) -> None:
    config = read(OWN + OFF.split("[upstream.zai-chat]", maxsplit=1)[0])
    assert places(config.models) == {"local", "zai-chat"}
    assert any("still go to upstream.zai-chat: `enabled = false` there" in note for note in config.hints)


def test_a_model_that_is_off_has_no_row(read: Loader) -> None:
    config = read('[model."glm-4.6v"]\nenabled = false\n[model.auto]\nenabled = false\n')
    assert not {"glm-4.6v", "auto"} & config.models.models.keys()
    assert config.models.models["glm-4.6"].vision is None
    assert config.models.resolve("glm-4.6", images=True, dialect="chat").model.name == "glm-4.6"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OWN + 'image-upstream = "zai-chat"\n' + OFF,
         "pipelines.toml: [upstream.local] option 'image-upstream': upstream 'zai-chat' is switched off: "
         "name another one"),
        (OWN + OFF + '[model.mine]\nupstreams = { chat = "zai-chat" }\n',
         "pipelines.toml: [model.mine] option 'upstreams': upstream 'zai-chat' is switched off: name another one"),
        (OWN + OFF + '[model.mine]\nfallbacks = [{ upstream = "zai-chat" }]\n',
         "pipelines.toml: [model.mine] option 'fallbacks': upstream 'zai-chat' is switched off: name another one"),
        ('[model.mine]\nvision = "glm-4.5v"\n[model."glm-4.5v"]\nenabled = false\n',
         "pipelines.toml: [model.mine] option 'vision': model 'glm-4.5v' is switched off: name another one"),
        ('[model."glm-4.6"]\nenabled = false\n',
         "models.toml: [model.auto] option 'text': model 'glm-4.6' is switched off: name another one, "
         "or switch this row off, too"),
        (OFF, "pipelines.toml: [upstream] has no row left that is enabled: add one, or leave one on"),
    ],
)  # fmt: skip
def test_what_the_operator_says_about_such_a_row_is_refused(problems: Failing, text: str, told: str) -> None:
    assert problems(text) == (told,)
