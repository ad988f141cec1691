"""Looks whether a reply is the JSON that its client wants, where the upstream was told the schema in words only.

Some upstreams know `json_object` and no `json_schema` (protocol.md 2, P30). The reply is reported and never rewritten.

A schema is a client's, a reply a model's: neither may hold the loop or reach the network. A check ends after `SECONDS`,
no reference leaves the schema, and keywords that run a client's patterns or compare all with all are passed over.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from time import thread_time
from typing import TYPE_CHECKING, Any

import msgspec
from loguru import logger

from trimtab.events import Event, Finished, StopReason, TextDelta

if TYPE_CHECKING:
    from trimtab.exchange import Exchange
    from trimtab.interfaces import Counters

LONGEST = 1_000_000
"""Characters of a reply that are kept for the check."""
SECONDS = 0.1
"""Time of the processor that one check may take."""
PASSED_OVER = ("pattern", "patternProperties", "unevaluatedProperties", "unevaluatedItems", "uniqueItems")
"""Keywords that are not checked: a pattern may run for years, the others compare all with all or need patterns."""

_PLAIN = re.compile(r"[\w$.-]{1,64}")


class Fitting:
    """Gathers the text of one reply, and says at its end whether it fits a schema."""

    def __init__(self, schema: Any, now: Callable[[], float] = thread_time) -> None:
        """`now` gives the seconds by which a check is ended."""
        self._schema = schema
        self._now = now
        self._pieces: list[str] = []
        self._size = 0
        self._complete = False

    def see(self, events: Iterable[Event]) -> None:
        """Keep what the client is told."""
        for event in events:
            if isinstance(event, TextDelta):
                self._size += len(event.text)
                if self._size <= LONGEST:
                    self._pieces.append(event.text)
            elif isinstance(event, Finished):
                # A reply that was cut, or calls a tool, is not yet what was asked for.
                self._complete = event.reason is StopReason.END

    def report(self, exchange: "Exchange", counters: "Counters") -> None:
        """Tell a complete reply that does not fit: in the log, in the exchange's notes and in `schema_misfits`."""
        if not self._complete:
            return
        if self._size > LONGEST:
            exchange.notes.append(f"JSON not checked: more than {LONGEST} characters")
            return
        try:
            wrong = misfit("".join(self._pieces), self._schema, self._now)
        except Exception as error:
            # Whatever a client's schema leads to, its reply is whole.
            exchange.notes.append(f"JSON not checked: {_why(error)}")
            return
        if wrong is not None:
            exchange.notes.append(f"the reply does not fit the schema: {wrong}")
            counters.add("schema_misfits")
            logger.warning("{}: the reply does not fit the client's schema: {}", exchange.id, wrong)


class Slow(Exception):
    """A check that took too long."""


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, Slow) else f"the schema is not understood ({type(error).__name__})"


def misfit(text: str, schema: Any, now: Callable[[], float] = thread_time) -> str | None:
    """The first place found where a text does not fit a schema (JSON Schema 2020-12), without a word of it.

    None where all fits. Raises Slow after `SECONDS`, and what jsonschema raises on a schema that is none.
    """
    try:
        value = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        return f"no JSON ({error})" if isinstance(error, msgspec.DecodeError) else "no JSON (nested too deep)"
    validator, watch = _validator()
    watch.begin(now)
    from referencing import Registry  # noqa: PLC0415  # as in _validator

    # An empty registry: without one, jsonschema fetches a reference from the network.
    wrong = next(validator(schema, registry=Registry()).iter_errors(value), None)
    return None if wrong is None else f"{_place(wrong.absolute_path, _names(schema))} breaks '{wrong.validator}'"


def _place(path: Iterable[str | int], known: frozenset[str]) -> str:
    """A JSON Pointer; a name that the schema does not tell is the model's word, and stands as `*`."""
    steps = [str(step) if isinstance(step, int) else step if step in known else "*" for step in path]
    return "".join(f"/{step}" for step in steps) or "the whole"


def _names(schema: Any) -> frozenset[str]:
    """The plain names of properties in a schema."""
    found: set[str] = set()
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            named = part.get("properties")
            found |= {name for name in named if _PLAIN.fullmatch(name)} if isinstance(named, dict) else set()
            left += part.values()
        elif isinstance(part, list):
            left += part
    return frozenset(found)


class _Watch:
    """Ends a check that takes too long; checks run one after another, in one thread."""

    def __init__(self) -> None:
        self._now: Callable[[], float] = thread_time
        self._end = 0.0

    def begin(self, now: Callable[[], float]) -> None:
        self._now, self._end = now, now() + SECONDS

    def look(self) -> None:
        if self._now() > self._end:
            raise Slow(f"it takes more than {SECONDS} s")

    def over(self, keyword: Callable[..., Iterator[Any] | None]) -> Callable[..., Iterator[Any]]:
        """A keyword that is looked at before it runs."""

        def watched(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            self.look()
            yield from keyword(validator, value, instance, schema) or ()

        return watched


@lru_cache(maxsize=1)
def _validator() -> tuple[Any, _Watch]:
    """The validator's class, and the watch over all of its keywords; jsonschema is imported when it is needed first."""
    from jsonschema import Draft202012Validator as Whole  # noqa: PLC0415  # loaded where it is used
    from jsonschema.validators import create  # noqa: PLC0415  # loaded where it is used

    watch = _Watch()
    keywords: dict[str, Any] = {name: watch.over(run) for name, run in Whole.VALIDATORS.items()}
    for name in PASSED_OVER:
        del keywords[name]
    more = keywords["additionalProperties"]

    def additional(validator: Any, value: Any, instance: Any, schema: Any) -> Sequence[Any] | Iterator[Any]:
        return () if "patternProperties" in schema else more(validator, value, instance, schema)

    keywords["additionalProperties"] = additional
    return create(Whole.META_SCHEMA, keywords, type_checker=Whole.TYPE_CHECKER), watch
