"""Runs of agents: what became of them, how those through the proxy compare, and the tables of both."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]
"""A line of the results."""
DIRECT = "direct"
RANKS = ("wrong-file", "hang", "lost", "failed", "ok")
"""Outcomes from worst to best. `failed` says so by its exit code; `lost` wrote nothing and ended with 0."""
FAR_SLOWER = (30.0, 2.0)
"""A run is far slower than another that takes S seconds where it takes longer than these seconds and this times S."""


class Cell(NamedTuple):
    """One run."""

    agent: str
    way: str
    """DIRECT, or the model that the proxy is asked for."""
    fault: str
    """One of FAULTS, with more words for the model's script behind it: `cut/think=1/cut=4`."""


Runs = Mapping[Cell, Row]
"""All runs."""


def outcome(told: Row, written: str | None, agent: str) -> str:
    """What became of a run, one of RANKS: `told` is what run_client.py printed, `written` the file's text if any."""
    if written is not None and not told["tool_executed"] and (written.strip() or not agent.startswith("aider")):
        return "wrong-file"  # aider is given an empty one
    if told.get("timed_out"):
        return "hang"
    if told["exit"] != 0:
        return "failed"
    return "ok" if told["tool_executed"] else "lost"


def verdict(direct: Row, proxied: Row) -> str:
    """How a run through the proxy compares to one without: `worse`, `slower`, `same` or `better`."""
    before, after = RANKS.index(direct["outcome"]), RANKS.index(proxied["outcome"])
    if before != after:
        return "better" if after > before else "worse"
    seconds, factor = FAR_SLOWER
    return "slower" if proxied["seconds"] > max(direct["seconds"] + seconds, factor * direct["seconds"]) else "same"


def compared(runs: Runs, cell: Cell) -> str:
    """The verdict on a run through the proxy; `?` where it or the one without was not made, or met no fault."""
    rows = [runs.get(cell._replace(way=DIRECT)), runs.get(cell)]
    direct, proxied = (row if row and (row["hits"] or cell.fault == "none") else None for row in rows)
    return verdict(direct, proxied) if direct and proxied else "?"


def table(runs: Runs, agents: Sequence[str], models: Sequence[str], faults: Sequence[str]) -> tuple[str, list[str]]:
    """A line per agent and fault, and those that are worse."""
    lines, worse = [f"{'agent':20}{'fault':12}{'direct':16}" + "".join(f"{model:28}" for model in models)], []
    for agent in agents:
        for fault in faults:
            line = f"{agent:20}{fault:12}{shown(runs.get(Cell(agent, DIRECT, fault))):16}"
            for model in models:
                cell = Cell(agent, model, fault)
                said = compared(runs, cell)
                line += f"{shown(runs.get(cell)) + ' ' + said:28}"
                if said in ("worse", "slower"):
                    worse.append(f"{agent} {model} {fault}: {said}")
            lines.append(line.rstrip())
    return "\n".join(lines), worse


def shown(row: Row | None) -> str:
    """A run in a few letters."""
    return "-" if row is None else f"{row['outcome']} {row['seconds']:.0f} s"


def markdown(runs: Runs, agents: Sequence[str], models: Sequence[str], faults: Sequence[str]) -> str:
    """The table of docs/agents.md: where not all of a row is well, and in a line of words how much is."""
    lines = ["| fault | agent | direct | " + " | ".join(f"`{model}`" for model in models) + " |"]
    lines.append("|---" * (3 + len(models)) + "|")
    counts = dict.fromkeys(("same", "better", "slower", "worse", "?"), 0)
    for fault in faults:
        for agent in agents:
            for model in models:
                counts[compared(runs, Cell(agent, model, fault))] += 1
            found = [runs.get(Cell(agent, way, fault)) for way in (DIRECT, *models)]
            names = ["-" if row is None else row["outcome"] for row in found]
            if {*names} - {"ok", "-"}:
                lines.append(f"| {fault} | {agent} | {' | '.join(names)} |")
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if name != "?")
    rest = f"{sum(counts.values()) - counts['?']} runs through the proxy, compared with those without: {said}"
    return "\n".join([*lines, "", f"{rest}; {counts['?']} not run."])
