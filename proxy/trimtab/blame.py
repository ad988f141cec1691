"""Where something failed: the class of an exception and its place in the code, never its text.

Texts of exceptions quote what they could not read, which may be a prompt or a key. They, and whole tracebacks, stand in
the log at DEBUG only.
"""

from types import TracebackType

OURS = "trimtab.pipeline:"


def where(error: BaseException, culprit: object = None) -> str:
    """`ValueError at json.decoder:355, from trimtab_stages.env_dedup:120`.

    The second place is the innermost one in the package of `culprit`, where the first is not in it. What the pipeline
    itself finds wrong is told in its words, which quote nothing.
    """
    places = list(_places(error.__traceback__))
    name = type(error).__name__
    if not places or places[-1].startswith(OURS):
        return f"{name}: {error}"
    told = f"{name} at {places[-1]}"
    package = type(culprit).__module__.partition(".")[0]
    own = [place for place in places if place.partition(":")[0].partition(".")[0] == package]
    return f"{told}, from {own[-1]}" if own and own[-1] != places[-1] else told


def freed(error: BaseException) -> None:
    """Let go of the frames that an exception, and those it came from, lead to.

    They hold what holds the exception: all that belongs to a request would wait for the garbage collector, whose rounds
    then took 50 ms.
    """
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            todo += [one.__cause__, one.__context__]


def _places(trace: TracebackType | None) -> list[str]:
    places = []
    while trace is not None:
        places.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}")
        trace = trace.tb_next
    return places
