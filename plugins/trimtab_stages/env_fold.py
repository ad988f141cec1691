"""What the strategies do at epochs with the blocks before the frontier: age takes old copies, merge gathers events.

Both reach far back, so they cost the provider's cache once an epoch. Neither is our default; both keep what matters.
"""

from collections.abc import Collection, Sequence

from trimtab_stages.env_turns import Going

TITLE = "# Earlier events\n\n"


def aged(plan: Sequence[Going], frontier: int, fixed: Collection[str] = ()) -> list[Going]:
    """The plan without the copies of states that were superseded before the message `frontier`; the last one stays.

    Copies stay whose key is among `fixed`: an older one of them cannot go, and what stands between it and the last one
    says that the last one is no repeat.
    """
    newest: dict[str, tuple[int, int]] = {}
    older: dict[int, set[int]] = {}
    for number, going in enumerate(plan):
        if going.found.at >= frontier:
            break
        for place, section in enumerate(going.sections):
            if section.rule != "state" or place in going.gone or section.key in fixed:
                continue
            if section.key in newest:
                at, held = newest[section.key]
                older.setdefault(at, set()).add(held)
            newest[section.key] = number, place
    return [
        going._replace(gone=going.gone | older[number]) if number in older else going
        for number, going in enumerate(plan)
    ]


def folded(plan: Sequence[Going], frontier: int) -> list[Going]:
    """The plan with the events before the message `frontier` in the last block there, each text once."""
    held = [number for number, going in enumerate(plan) if going.found.at < frontier and _folds(going)]
    if len(held) < 2:
        return list(plan)
    last, texts = held[-1], dict[str, None]()
    for number in held:
        sections = plan[number].sections
        texts.update(dict.fromkeys(sections[place].value for place in sorted(_events(plan[number]))))
    new = list(plan)
    for number in held:
        new[number] = new[number]._replace(gone=new[number].gone | _events(new[number]))
    new[last] = new[last]._replace(said=TITLE + "\n\n".join(texts))
    return new


def _folds(going: Going) -> bool:
    """Whether a block gives its events away.

    Not one without headers: it is read line by line, and a header put into it would change what its lines are. Nor one
    in which a state is kept, because its header may be a line of a terminal's output: moved behind a newer value of
    that state, it would pass for the newest.
    """
    if any(section.key and section.rule == "kept" for section in going.sections):
        return False
    return bool(_events(going)) and any(section.text.startswith("# ") for section in going.sections)


def _events(going: Going) -> frozenset[int]:
    """The places of what stays for good in a block, and says something."""
    return frozenset(
        place
        for place, section in enumerate(going.sections)
        if section.rule == "kept" and section.value and place not in going.gone
    )
