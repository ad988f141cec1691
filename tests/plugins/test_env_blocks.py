"""Environment blocks of several clients: where they are found, how they are cut, and what is left alone."""

import time

import pytest

from trimtab_stages.env_blocks import ENVIRONMENT, Block, Tags, find

CLINE = """<environment_details>
# Visual Studio Code Visible Files
src/a.ts

# Visual Studio Code Open Tabs
(No open tabs)

# Actively Running Terminals
## Original command: `npm test`
### New Output
ok

# Inactive Terminals
## npm run build
### New Output
done

# Recently Modified Files
These files have been modified since you last accessed them (file was just edited so you may need to re-read it):
src/a.ts

# Current Time
6/11/2026, 1:02:03 PM (Europe/Paris, UTC+2:00)

# Current Working Directory (/home/me/p) Files
src/a.ts

# Workspace Configuration
{"workspaces": {}}

# Detected CLI Tools
git

# Context Window Usage
123,456 / 200K tokens used (62%)

# Current Mode
ACT MODE
</environment_details>"""
ROO = """<environment_details>
# VSCode Visible Files
a.py

# VSCode Open Tabs
a.py,b.py

# Current Time
Current time in ISO 8601 UTC format: 2026-01-01T00:00:00.000Z
User time zone: Europe/Paris, UTC+1:00

# Git Status
## main

# Current Cost
$0.12

# Current Mode
<slug>code</slug>
<name>Code</name>


# Current Workspace Directory (/w) Files
a.py
====

REMINDERS

Below is your current list of reminders for this task. Keep them updated as you progress.

| # | Content | Status |
|---|---------|--------|
| 1 | build | Pending |


IMPORTANT: When task status changes, remember to call the `update_todo_list` tool to update your progress.

</environment_details>"""
BOB = """<environment_details>
# VSCode Visible Files


# VSCode Open Tabs


# Current Time
Current time in ISO 8601 UTC format: 2026-05-17T02:27:53.408Z

# Current Cost
$0.00

# Review Exclusions
The following file patterns are excluded from code reviews:
- .vscode/**

# Current Mode
<slug>code</slug>
You have not created a todo list yet. Create one with `update_todo_list` if your task is complicated.
</environment_details>"""
KILO = """<environment_details>
Message time: 2026-11-22T06:42:40Z
Working directory: /home/me/p
Workspace root folder: /home/me/p
Active file: a.py
Visible files:
  a.py
  b.py
Shell: bash
Open tabs:
  b.py
</environment_details>"""


def block_of(text: str, *tags: Tags) -> Block:
    """The block of a text, which joins to what stands there."""
    found = find(text, [ENVIRONMENT, *tags])
    assert found is not None
    assert found.head + "".join(s.text for s in found.sections) + found.foot == text[found.start : found.end]
    return found


def shape(text: str, *tags: Tags) -> list[tuple[str, str]]:
    """Key, or the beginning of the text, and rule of each section."""
    return [(s.key.strip() or s.text.splitlines()[0][:24], s.rule) for s in block_of(text, *tags).sections]


def test_cline() -> None:
    assert shape(CLINE) == [
        ("Visible Files", "state"),
        ("Open Tabs", "state"),
        ("# Actively Running Termi", "kept"),
        ("# Inactive Terminals", "kept"),
        ("# Recently Modified File", "kept"),
        ("Current Time", "state"),
        ("Current Working Directory", "kept"),
        ("# Workspace Configuratio", "kept"),
        ("# Detected CLI Tools", "kept"),
        ("Context Window Usage", "state"),
        ("Current Mode", "history"),
    ]


def test_roo() -> None:
    assert shape(ROO) == [
        ("Visible Files", "state"),
        ("Open Tabs", "state"),
        ("Current Time", "state"),
        ("Git Status", "state"),
        ("Current Cost", "state"),
        ("Current Mode", "history"),
        ("Current Workspace Directory", "history"),
        ("todo", "state"),
    ]
    assert block_of(ROO).sections[-1].value.startswith("====\n\nREMINDERS")
    assert block_of(ROO).sections[-2].value == "# Current Workspace Directory (/w) Files\na.py"


def test_the_family_of_roo() -> None:
    assert shape(BOB)[-3:] == [("Review Exclusions", "state"), ("Current Mode", "history"), ("todo", "state")]
    assert block_of(BOB).sections[-2].value == "# Current Mode\n<slug>code</slug>"


def test_kilo() -> None:
    names = ["Message time", "Working directory", "Workspace root folder", "Active file", "Visible files"]
    assert shape(KILO) == [*((name, "state") for name in names), ("Shell: bash", "kept"), ("Open tabs", "state")]
    assert block_of(KILO).sections[4].text == "Visible files:\n  a.py\n  b.py\n"


FENCED = "```environment\nCurrent time: 1\nOpen tabs:\n  a.py\n```"


@pytest.mark.parametrize(
    "text",
    [FENCED, f"do it\n\n{FENCED}\n", FENCED.replace("```", "~~~~").replace("environment", "environment_details")],
)
def test_a_fence_that_says_so_is_a_block(text: str) -> None:
    found = find(text, [ENVIRONMENT])
    assert found is not None
    assert [(section.key, section.rule) for section in found.sections] == [
        ("Current time", "state"),
        ("Open tabs", "state"),
    ]
    whole = found.head + "".join(section.text for section in found.sections) + found.foot
    assert text[found.start : found.end] == whole
    assert text[found.end :].strip() == ""


def test_a_fence_with_headers_is_read_as_a_block_with_tags_is() -> None:
    found = find("```environment\n# Current Time\n1\n\n# Open Tabs\na\n```", [ENVIRONMENT])
    assert found is not None
    assert [section.key for section in found.sections] == ["Current Time", " Open Tabs"]


@pytest.mark.parametrize(
    "text",
    [
        "```\nCurrent time: 1\n```",
        "```python environment\nCurrent time: 1\n```",
        "see\n```environment\nCurrent time: 1\n```",
        "```environment\nCurrent time: 1\n```\nand more",
        "```environment\nCurrent time: 1\n````",
        "```environment\na\n```\ntext\n```\nb\n```",
        "````\n\n```environment\nCurrent time: 1\n```",
        "> ```environment\n> Current time: 1\n> ```",
        "```",
        "```environment",
        "```environment\n```environment\n```\nx",
    ],
)
def test_other_fences_are_text(text: str) -> None:
    assert find(text, [ENVIRONMENT]) is None


@pytest.mark.parametrize("before", ["", "\n\n", "\n", "hello\n\n", "hello\n \t\n", "a\r\n\r\n", "```\ncode\n```\n\n"])
@pytest.mark.parametrize("behind", ["", "\n", " \n\n"])
def test_a_block_ends_a_text(before: str, behind: str) -> None:
    found = find(before + BOB + behind, [ENVIRONMENT])
    assert found is not None
    assert (found.start, found.end) == (len(before), len(before) + len(BOB))


@pytest.mark.parametrize(
    "text",
    [
        f"look:\n{BOB}",
        f"look: {BOB}",
        f"  {BOB}\n\nwhat is this?",
        f"hello\n\n  {BOB}",
        f"```xml\n\n{BOB}",
        f"````\n```\n\n{BOB}",
        f"~~~\n```\n\n{BOB}",
        f"```\n\n{BOB}\n```",
        f"> {BOB}",
        BOB.replace("<env", "< env"),
        BOB[: -len("</environment_details>")],
        "</environment_details>",
        f"text\n\n</environment_details>{BOB}",
        "",
    ],
)
def test_what_only_looks_like_a_block(text: str) -> None:
    assert find(text, [ENVIRONMENT]) is None


def test_the_last_of_two_blocks() -> None:
    assert block_of(f"{ROO}\n\nand\n\n{BOB}").start == len(ROO) + 7


def test_tags_inside_belong_to_the_block() -> None:
    output = "### New Output\n\n<environment_details>\n\n# Current Time\n9\n</environment_details>\n"
    text = CLINE.replace("### New Output\nok\n", output)
    assert block_of(text).start == 0
    times = [section for section in block_of(text).sections if section.key == "Current Time"]
    assert len(times) == 2, "one is output; the policy keeps both"


def test_output_with_headers_is_output() -> None:
    text = CLINE.replace("### New Output\nok\n", "### New Output\n# no header\n\n# Title\n\n# Git Status\nmine\n")
    assert shape(text)[3:5] == [("# Title", "kept"), ("Git Status", "kept")]


@pytest.mark.parametrize(
    "inner", ["", "\n", " ", " \n ", "odd", "\nodd\n", "\n\n\n", "\nKey: value\n", "\n====\n\nREMINDERS\n\n"]
)
def test_odd_blocks_join(inner: str) -> None:
    block_of(f"<environment_details>{inner}</environment_details>")


@pytest.mark.parametrize(
    ("title", "rule"),
    [
        ("Current Context Size (Tokens)", "state"),
        ("Workspace Roots (Primary: a)", "state"),
        ("Visible Files", "state"),
        ("Cursor Open Tabs", "state"),
        ("Browser Session Status", "state"),
        ("Current Mode", "history"),
        ("Current Costs of Living", "kept"),
        ("Invisible Files", "kept"),
        ("current time", "kept"),
    ],
)
def test_headers(title: str, rule: str) -> None:
    (section,) = block_of(f"<environment_details>\n# {title}\nx\n</environment_details>").sections
    assert section.rule == rule


def test_text_before_the_first_header_stays() -> None:
    assert shape("<environment_details>\nodd\n\n# Current Cost\n$1\n</environment_details>") == [
        ("odd", "kept"),
        ("Current Cost", "state"),
    ]


def test_a_user_s_own_tags() -> None:
    tags = Tags("<ctx>", "</ctx>", whole=True)
    assert shape("hi\n\n<ctx>\nbranch main\n</ctx>", tags) == [("<ctx>", "state")]
    assert shape("<ctx>now\n\n# Current Cost\n$1\n\n# Odd\n1\n</ctx>", tags) == [
        ("<ctx>", "state"),
        ("Current Cost", "state"),
        ("# Odd", "kept"),
    ]
    assert shape("<ctx>\n\n# Odd\n1\n</ctx>", tags) == [("# Odd", "kept")]
    assert find("hi\n\n<ctx>\nbranch main\n</ctx>", [ENVIRONMENT]) is None


@pytest.mark.parametrize(
    "text",
    [
        "</environment_details>" * 40_000,
        "<environment_details>" * 40_000 + "</environment_details>",
        "<environment_details>\n" + "\n\n# a" * 40_000 + "\n</environment_details>",
        "\n```\n" * 100_000 + "\n\n<environment_details>\nx\n</environment_details>",
        "\n" * 900_000 + "x</environment_details>",
    ],
)
def test_long_texts_take_no_time(text: str) -> None:
    begun = time.process_time()
    find(text, [ENVIRONMENT])
    assert time.process_time() - begun < 2
