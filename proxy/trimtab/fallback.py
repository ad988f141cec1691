"""Another target takes over: which ones there are, and the request as it would have been made for them.

Edits are made for one target (its window, its quirks, its images), so none is carried over: the chain runs anew on the
request as it came, toward the new target. Stages that say who a client is, or count its requests (`once`), do not run
again; their facts stay.
"""

from trimtab.conversation import Image
from trimtab.errors import ProxyError
from trimtab.exchange import Exchange
from trimtab.facts import TokenCount
from trimtab.models import ModelTable, Target
from trimtab.outgoing import has_key
from trimtab.pipeline import Pipeline


def candidates(exchange: Exchange, target: Target, models: ModelTable) -> list[Target]:
    """The targets behind the first one, in the order of the table; without those that cannot serve this request."""
    seen = exchange.conversation.has(Image)
    count = exchange.get(TokenCount)
    found = []
    for row in target.model.fallbacks:
        other = Target(models.upstreams[row.upstream], models.model(row.model or target.model.name))
        blind = seen and not (other.upstream.images and (other.model.images or not target.model.images))
        window = other.model.window
        small = count is not None and window is not None and count.total > window
        if blind or small:
            continue
        if has_key(exchange, other.upstream):
            found.append(other)
        else:
            exchange.notes.append(f"{other.upstream.name} cannot take over: it has no key of its own")
    return found


async def move(pipeline: Pipeline, exchange: Exchange, target: Target) -> bool:
    """Make the request anew for a target; False where a stage refuses it there, or answers it itself."""
    undo = exchange.aim(target)
    try:
        if await pipeline.request(exchange, again=True) is None:
            return True
    except ProxyError as error:
        reason = f"{target.upstream.name} cannot take over: {error.message}"
    else:
        reason = f"{target.upstream.name} cannot take over: a stage answers there"
    undo()
    exchange.notes.append(reason)
    return False
