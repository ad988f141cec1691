"""The pretended repository that the session works on: its map, its files, the tools to look at it, and the editor.

Everything follows from its arguments, so that two runs show the same numbers.
"""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

_PARTS = ("billing", "catalog", "accounts", "search", "shipping", "reports", "gateway", "worker")
_FILES = ("models", "service", "routes", "schemas", "events", "storage", "errors", "settings", "jobs", "cache", "audit")
_NOUNS = ("invoice", "order", "customer", "parcel", "voucher", "ledger", "quote", "stock", "session", "batch")
_VERBS = ("load", "merge", "settle", "publish", "index", "refund", "validate", "expire", "split", "archive")
_MANNER = """\
You are a coding agent working in a terminal, on the repository described below. Read before you write: open the file \
you are about to change and at least one of its callers. Prefer the smallest change that solves the task, keep to the \
style of the code around it, and never touch generated files. Call one tool at a time and wait for its result. When a \
command fails, read its output to the end before you try again; after two failures of the same kind stop and explain. \
Every change of behaviour needs a test that fails without it. Do not install packages and do not use the network. \
Answer in a few sentences, name files with their line, and say what you did not check.

The repository is a shop's back end in Python 3.12: FastAPI, SQLAlchemy 2, one PostgreSQL database, a queue in Redis. \
Money is an integer of cents with a currency beside it, times are UTC. Tests run with `pytest -q`, types are checked \
with `mypy --strict`, and both must pass before you finish. Its map:
"""
_TODO = (
    "Read the settling of split orders",
    "Find who calls it in the worker",
    "Write a test that fails",
    "Make settling safe to run again",
    "Run tests and type checks",
)


class Offer(NamedTuple):
    """A tool as an agent offers it, in no dialect."""

    name: str
    description: str
    schema: dict[str, Any]


def system(salt: str) -> str:
    """A system prompt of some 2,000 tokens; another salt makes it one that nobody has seen."""
    lines = [f"src/{part}/{file}.py  {_purpose(part, file)}" for part in _PARTS for file in _FILES]
    return f"Session {salt}.\n{_MANNER}\n" + "\n".join(lines)


def task() -> str:
    """What the user asks for."""
    return (
        "Refunds of a split order are booked twice when the worker is restarted between settling and publishing. "
        "Find the place, make it safe to run again, and add a test. Look at src/billing and src/worker first."
    )


def file(turn: int, salt: str) -> str:
    """What reading a file at that turn gives; later files are longer."""
    rng = Random(turn)
    part, name = _place(rng)
    head = f'"""{_purpose(part, name)} (revision {salt})."""\n\nfrom src.{part}.errors import Refused\n'
    return head + "".join(_function(rng) for _ in range(2 + turn))


def environment(turn: int, salt: str) -> str:
    """The block that agents of the Roo family write behind every message: the editor's state, the clock, the list of
    things to do; in the first one all files too. Turn 0 is the user's own message."""
    open_tabs = [_path(number) for number in range(max(1, turn - 5), turn + 1)]
    now = _begin(salt) + timedelta(seconds=37 * turn)
    sections = [
        "# VSCode Visible Files\n" + "".join(f"{path}\n" for path in open_tabs[-1:]),
        "# VSCode Open Tabs\n" + ",".join(open_tabs) + "\n",
        f"# Current Time\nCurrent time in ISO 8601 UTC format: {now:%Y-%m-%dT%H:%M:%S}.000Z\n"
        "User time zone: Europe/Berlin, UTC+2:00\n",
        f"# Current Cost\n${0.01 * turn:.2f}\n",
        "# Current Mode\n<slug>code</slug>\n<name>Code</name>\n<model>glm-4.6</model>\n",
    ]
    if not turn:
        files = "\n".join(f"src/{part}/{file}.py" for part in _PARTS for file in _FILES)
        sections.append(f"# Current Workspace Directory (/home/dev/shop) Files\n{files}\n")
    return "<environment_details>\n" + "\n".join([*sections, _todo(turn)]) + "\n</environment_details>"


def _todo(turn: int) -> str:
    done = turn // 3
    states = ["Completed"] * done + ["In Progress"] + ["Pending"] * len(_TODO)
    rows = "".join(
        f"| {number} | {text} | {state} |\n" for number, (text, state) in enumerate(zip(_TODO, states, strict=False), 1)
    )
    return (
        "====\n\nREMINDERS\n\n"
        "Below is your current list of reminders for this task. Keep them updated as you progress.\n\n"
        f"| # | Content | Status |\n|---|---------|--------|\n{rows}\n"
        "IMPORTANT: When task status changes, remember to call the `update_todo_list` tool to update your progress.\n"
    )


def _begin(salt: str) -> datetime:
    return datetime(2026, 5, 4, 9, tzinfo=UTC) + timedelta(seconds=Random(salt).randrange(3600))


def _path(turn: int) -> str:
    part, name = _place(Random(turn))
    return f"src/{part}/{name}.py"


def _place(rng: Random) -> tuple[str, str]:
    return rng.choice(_PARTS), rng.choice(_FILES)


def offers(salt: str) -> tuple[Offer, ...]:
    """The tools on offer. They open the prompt, so the salt stands in the first of them too."""
    path, text, number = {"type": "string", "description": "relative to the workspace"}, {"type": "string"}, _NUMBER
    return (
        _offer(
            "read_file",
            f"Session {salt}: read a file, or some lines of it, with line numbers.",
            path=path,
            offset=number,
        ),
        _offer("edit_file", "Replace one exact piece of a file's text by another.", path=path, old=text, new=text),
        _offer("write_file", "Write a new file, or replace one as a whole.", path=path, content=text),
        _offer("search", "Find a regular expression in the workspace's files.", pattern=text, path=path, limit=number),
        _offer("list_files", "List a folder, with sizes; hidden files are left out.", path=path, depth=number),
        _offer("run_command", "Run a shell command and return its output.", command=text, seconds=number),
    )


_NUMBER = {"type": "integer", "minimum": 0}


def _offer(name: str, description: str, **properties: dict[str, Any]) -> Offer:
    required = [member for member, schema in properties.items() if schema is not _NUMBER]
    return Offer(name, description, {"type": "object", "properties": properties, "required": required})


def _purpose(part: str, name: str) -> str:
    rng = Random(f"{part}/{name}")
    return f"{name} of {part}: {rng.choice(_VERBS)} and {rng.choice(_VERBS)} each {rng.choice(_NOUNS)}"


def _function(rng: Random) -> str:
    verb, noun, other = rng.choice(_VERBS), rng.choice(_NOUNS), rng.choice(_NOUNS)
    limit, code = rng.randrange(2, 500), rng.randrange(100, 999)
    return f'''

def {verb}_{noun}({noun}: {noun.title()}, {other}s: list[{other.title()}]) -> int:
    """{verb.title()} one {noun} with its {other}s and return the cents that remain."""
    if len({other}s) > {limit}:
        raise Refused("E{code}", f"{{len({other}s)}} {other}s are more than {limit}")
    remaining = {noun}.cents - sum({other}.cents for {other} in {other}s if not {other}.{verb}d)
    for {other} in {other}s:
        {other}.{verb}d = {other}.{verb}d or remaining >= {other}.cents
    return max(remaining, 0)
'''
