from collections.abc import Callable

import pytest

from trimtab.config import Config, changes

Loader = Callable[..., Config]


def chain(*stages: str, name: str = "default") -> str:
    return f"[pipeline.{name}]\nstages = {list(stages)}\n"


BEFORE = chain("trim", "fold", "log") + "[stage.trim]\nkeep = 3\n"


@pytest.mark.parametrize(
    ("after", "sentences"),
    [
        (BEFORE, ()),
        (chain("trim", "fold", "log") + "[stage.log]\nslow-ms = 1\n", ()),
        (chain("log", "trim", "fold"), ()),
        (BEFORE + chain("fold", name="second"), ()),
        (BEFORE + '[upstream.zai-chat]\nsilence-timeout = 9\n[model."glm-4.6"]\nwindow = 9\n', ()),
        (chain("trim", "log"), ("pipeline 'default': stage 'fold' is gone, its edits end",)),
        (
            chain("trim", "fold", "t2") + '[stage.t2]\nuse = "trim"\n',
            ("pipeline 'default': stage 't2' is new and edits requests",),
        ),
        (
            chain("trim", "fold") + "[stage.trim]\nkeep = 4\nhard = true\n",
            ("pipeline 'default': stage 'trim' edits differently: keep, hard changed",),
        ),
        (
            chain("fold", "trim"),
            (
                "pipeline 'default': stage 'fold' moved, so edits are made in another order",
                "pipeline 'default': stage 'trim' moved, so edits are made in another order",
            ),
        ),
        (
            chain("trim", "fold") + '[stage.trim]\nuse = "fold"\n',
            ("pipeline 'default': stage 'trim' edits differently: use changed",),
        ),
        (
            BEFORE + '[upstream.zai-chat]\nthinking = false\nbase-url = "http://x"\n[model.new]\n',
            ("[upstream.zai-chat] changed: base-url, thinking, accepts", "[model.new] is new"),
        ),
    ],
)
def test_changes_of_bytes_are_told(read: Loader, after: str, sentences: tuple[str, ...]) -> None:
    assert changes(read(BEFORE), read(after)) == sentences


def test_a_row_that_is_gone_is_told(read: Loader) -> None:
    assert changes(read(BEFORE + "[model.new]\n"), read(BEFORE)) == ("[model.new] is gone",)
