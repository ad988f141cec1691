"""Removes from environment blocks what earlier blocks said already or the next one says anew.

Agents of the Cline family end every message with a block `<environment_details>`, which mostly repeats the one before.
What may go is the business of `env_policy`, how blocks are read of `env_blocks`, where they stand of `env_places`. Here
the stage walks over a request. It is a pure function of the messages: what it keeps between requests hangs on them.
"""

from collections.abc import Sequence

from loguru import logger

from trimtab.api import (
    Epoch,
    Exchange,
    Fact,
    Message,
    Owner,
    Reply,
    Services,
    Stage,
    StageOptions,
    TokenCount,
    fingerprint,
    hookimpl,
)
from trimtab_stages import env_fold, env_places, env_strategies
from trimtab_stages.env_blocks import ENVIRONMENT
from trimtab_stages.env_policy import ALIKE
from trimtab_stages.env_strategies import PER_MINUTE
from trimtab_stages.env_tags import tags_of
from trimtab_stages.env_turns import Going, answers_of, appended, fixed_keys, going, note_of, read

STEP = 20
"""Answers from one epoch of `merge` and of `max-age` to the next; one request in ten may be one (design.md, promise 2).
Counted in answers, not in bytes: what leaves has as many, so a second pass finds the same frontier."""


class EnvDedupOptions(StageOptions, frozen=True, kw_only=True):
    """The table `[stage.env-dedup]`."""

    strategy: str = env_strategies.DEFAULT
    """What goes."""
    whole_block: bool = False
    """Whether all of a block goes when the next one arrives, its events too."""
    similarity: float = ALIKE
    """The share of lines in which two sections must agree, for `selective_removal`."""
    patterns: tuple[str, ...] = ()
    """Further pairs of tags around blocks: `<open>|</open>`, or `<open>.*?</open>`."""
    max_age: int = 0
    """Minutes after which superseded copies go, as answers of the session; 0 is never."""
    log: bool = False
    """A log line for every request whose blocks changed."""
    stats: bool = True
    """Whether what went is counted."""

    def __post_init__(self) -> None:
        env_strategies.named(self.strategy, whole=self.whole_block)
        if self.max_age < 0:
            raise ValueError("max-age must be 0 (never) or more")
        if self.max_age and env_strategies.named(self.strategy, whole=self.whole_block).append_only:
            raise ValueError("max-age edits older text, which strategy 'delta' never does: delete one of them")
        if not 0 < self.similarity <= 1:
            raise ValueError("similarity must be more than 0, and 1 at most")
        for pattern in self.patterns:
            tags_of(pattern)

    def remarks(self) -> tuple[str, ...]:
        """What a choice against the default costs."""
        return env_strategies.remarks(self.strategy, whole=self.whole_block, max_age=self.max_age)


class EnvDedup(Fact, frozen=True):
    """What the stage did to a request."""

    blocks: int
    """Environment blocks of which something went."""
    sections: int
    """Sections that went."""
    bytes: int
    """By how much the body is shorter."""


class EnvDeduplication(Stage[EnvDedupOptions]):
    """Edits the messages whose environment blocks say what is said elsewhere."""

    name = "env-dedup"
    Options = EnvDedupOptions
    provides = frozenset({EnvDedup})
    optional = True
    shapes = True

    def __init__(self, options: EnvDedupOptions, label: str | None = None) -> None:
        super().__init__(options, label)
        self._tags = (ENVIRONMENT, *(tags_of(pattern) for pattern in options.patterns))
        self._key = f"env-dedup:{self._tags[1:]}"
        whole, similarity = options.whole_block, options.similarity
        self._strategy = env_strategies.named(options.strategy, whole=whole, similarity=similarity)
        self._owner = Owner(self.name, fingerprint(options.strategy, options.max_age, options.patterns))

    @hookimpl
    async def start(self, services: Services) -> None:
        """Say what a choice against the default costs."""
        self._counters, self._epochs, self._economics = services.counters, services.epochs, services.economics
        for remark in self.options.remarks():
            logger.warning("env-dedup: {}", remark)

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        """Edit the messages that hold a block."""
        if exchange.compaction or not exchange.conversation.fold(self._key, start=False, step=self._holds):
            return None
        blocks = sections = saved = 0
        for step in await self._plan(exchange):
            found, gone = step.found, step.gone
            after = self._edited(step)
            if after is found.message or not exchange.edit(found.at, after, _reason(gone)):
                continue
            blocks += bool(gone)
            sections += len(gone)
            saved += len(found.message.raw) - len(after.raw)
        if sections:
            self._report(exchange, EnvDedup(blocks=blocks, sections=sections, bytes=saved))
        return None

    async def _plan(self, exchange: Exchange) -> Sequence[Going]:
        """Which sections of which messages go."""
        strategy = self._strategy
        turns, marked = read(exchange.conversation.messages, self._tags, self._key)
        if strategy.append_only:
            return [*appended(turns, strategy.how)]
        if not turns or any(env_places.marked_outside(message) for message in marked):
            return ()
        plan = [*going(turns, strategy.how, marked=bool(marked))]
        if strategy.folds or self.options.max_age:
            frontier = await self._frontier(exchange)
            if self.options.max_age:
                plan = env_fold.aged(plan, frontier, fixed_keys(turns, frontier) if marked else ())
            plan = env_fold.folded(plan, frontier) if strategy.folds else plan
        return plan

    def _holds(self, known: bool, message: Message) -> bool:
        """Whether a block was found so far: most agents send none, and then nothing is read again."""
        return known or (message.role != "assistant" and note_of(message, self._tags, self._key).place is not None)

    async def _frontier(self, exchange: Exchange) -> int:
        """Up to which message older blocks change; written down once an epoch.

        Whoever chose such a strategy was told its price, so that it is not weighed; but a target whose predictions
        keep failing gets no epoch that is not forced.
        """
        answers = answers_of(exchange.received.messages)
        reached = (len(answers) - self.options.max_age * PER_MINUTE) // STEP * STEP
        boundary = self._epochs.before(exchange, self._owner, answers[reached - 1]) if reached > 0 else None
        if boundary is None:
            return 0
        epoch = await self._epochs.get(exchange, boundary)
        if epoch is None:
            trusted = self._economics.trusted(exchange.target)
            wanted = Epoch(form=self.options.strategy, messages=boundary.messages, size=boundary.size)
            if not trusted:
                wanted = Epoch(messages=await self._held(exchange, answers, reached - STEP), size=boundary.size)
            told = "" if trusted else ": predictions for this model keep failing"
            logger.info("{}: env-dedup: older blocks change up to message {}{}", exchange.id, wanted.messages, told)
            epoch = await self._epochs.settle(exchange, boundary, wanted)
        return epoch.messages

    async def _held(self, exchange: Exchange, answers: Sequence[int], reached: int) -> int:
        """The frontier of the epoch before."""
        for number in range(reached, 0, -STEP):
            boundary = self._epochs.before(exchange, self._owner, answers[number - 1])
            epoch = None if boundary is None else await self._epochs.get(exchange, boundary)
            if epoch is not None:
                return epoch.messages
        return 0

    def _edited(self, step: Going) -> Message:
        """The message as it leaves; made once, and again only when something else goes."""
        found, gone, said = step[:3]
        message, note, place = found.message, found.note, found.place
        append_only = self._strategy.append_only
        if not gone and (append_only or not (note.marked and env_places.marks_behind(message, place))):
            return message
        if note.edit is None or note.edit[0] != (gone, said):
            if append_only:
                after = env_places.shortened(message, place, gone, said)
            else:
                after = env_places.edited(message, place, gone, self._tags, said)
            note.edit = (gone, said), after
        return note.edit[1]

    @hookimpl
    def done(self, exchange: Exchange) -> None:
        """Count the tokens that went, at this prompt's own tokens per byte."""
        fact, count = exchange.get(EnvDedup), exchange.get(TokenCount)
        if fact is None or count is None or not self.options.stats:
            return
        left = sum(len(message.raw) for message in exchange.conversation.messages)
        self._counters.add("env_dedup.tokens", round(fact.bytes * sum(count.messages) / left))

    def _report(self, exchange: Exchange, fact: EnvDedup) -> None:
        exchange.put(fact)
        if self.options.stats:
            for name in ("blocks", "sections", "bytes"):
                self._counters.add(f"env_dedup.{name}", getattr(fact, name))
        if self.options.log:
            logger.info(
                "{}: env-dedup took {} sections out of {} blocks, {} bytes",
                exchange.id, fact.sections, fact.blocks, fact.bytes,
            )  # fmt: skip


def _reason(gone: frozenset[int]) -> str:
    return f"{len(gone)} section{'s' * (len(gone) != 1)} said elsewhere" if gone else "cache mark before the block"
