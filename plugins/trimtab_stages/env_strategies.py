"""The strategies by name, and what each costs beside the one that we chose.

The figures are `python -m benchmarks.economy --strategy NAME` on five recorded sessions with environment blocks, at
r = 0.1 and with marks: the lowest and the highest cost of the input over a session without the stage.
"""

from collections.abc import Mapping
from typing import NamedTuple

from trimtab_stages.env_policy import ALIKE, How

DEFAULT = "keep_latest"


class Strategy(NamedTuple):
    """What goes, and whether older text may change."""

    how: How
    price: str
    """Lowest and highest measured cost."""
    append_only: bool = False
    """Whether what was sent once is never touched again."""
    folds: bool = False
    """Whether events leave older blocks for one place, at epochs."""
    keeps_events: bool = True


STRATEGIES: Mapping[str, Strategy] = {
    "keep_latest": Strategy(How(), "0.583-0.937"),
    "delta": Strategy(How(older="none"), "0.606-0.974", append_only=True),
    "selective_removal": Strategy(How(unchanged=False, older="alike"), "0.696-0.961"),
    "merge": Strategy(How(priced=False), "0.623-1.321", folds=True),
    "keep_most_relevant": Strategy(How(spared=True), "0.584-0.938"),
}
WHOLE = Strategy(How(unchanged=False, older="all"), "0.640-0.929", keeps_events=False)
"""`keep_latest` with `whole-block`: all of a block goes when the next one arrives, its events too."""
AGE = "0.632-1.225"
"""`max-age` of 10 beside `keep_latest`."""
ALIASES: Mapping[str, str] = {"merge_strategy": "merge", "exact_match": "selective_removal"}
"""What the same is called elsewhere."""

PER_MINUTE = 2
"""Answers in a minute, for an age in minutes as a place in the session. No clock may decide what an edit looks like."""


def named(name: str, *, whole: bool, similarity: float = ALIKE) -> Strategy:
    """The strategy of a name. Raises ValueError for an unknown one, and for `whole-block` beside another one."""
    strategy = STRATEGIES.get(ALIASES.get(name, name))
    if strategy is None:
        raise ValueError(f"strategy '{name}' does not exist: there is {', '.join((*STRATEGIES, *ALIASES))}")
    if whole and name != DEFAULT:
        raise ValueError(f"whole-block belongs to strategy '{DEFAULT}': delete it, or strategy = '{name}'")
    found = WHOLE if whole else strategy
    return found._replace(how=found.how._replace(similarity=similarity))


def remarks(name: str, *, whole: bool, max_age: int) -> tuple[str, ...]:
    """What a choice against our default costs, in sentences."""
    usual = STRATEGIES[DEFAULT].price
    strategy = named(name, whole=whole)
    said = []
    if strategy.price != usual:
        label = "whole-block" if whole else f"strategy '{ALIASES.get(name, name)}'"
        lost = "" if strategy.keeps_events else "; events and what is sent once are lost with their blocks"
        said.append(f"{label} costs {strategy.price} of a session without the stage, '{DEFAULT}' {usual}{lost}")
    if max_age:
        said.append(
            f"max-age {max_age} is taken as {max_age * PER_MINUTE} answers of the session, in epochs; removing by age "
            f"breaks the provider's cache: a session costs {AGE} with max-age 10, {usual} without "
            "(ENV_DETAILS_MAX_AGE_MINUTES=0)"
        )
    return tuple(said)
