"""z.ai's error codes as data (protocol.md 1.6), and what their texts say of time.

They come as strings in `error.code`, in both dialects. A code says more than the status beside it: 1113 and 1305 are
both answered with 429.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from trimtab.errors import Cause


class Code(NamedTuple):
    """What a code means, whether the same request may be sent again, and seconds to wait before that."""

    cause: Cause
    retry: bool = False
    wait: tuple[float, float] | None = None
    """The least and the longest wait; None where nobody knows one."""


_BROKEN = Code(Cause.UPSTREAM, retry=True, wait=(1, 5))
_KEY = Code(Cause.AUTHENTICATION)
_ACCOUNT = Code(Cause.PERMISSION)
_BILL = Code(Cause.BILLING)
_UNKNOWN = Code(Cause.NOT_FOUND)
_BAD = Code(Cause.MALFORMED)
_RATE = Code(Cause.RATE_LIMIT, retry=True, wait=(5, 90))
_BUSY = Code(Cause.OVERLOADED, retry=True, wait=(2, 30))
_QUOTA = Code(Cause.QUOTA)

ZAI: Mapping[str, Code] = {
    **dict.fromkeys(("500", "1200", "1230", "1234", "1120"), _BROKEN),
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1100"), _KEY),
    **dict.fromkeys(("1110", "1111", "1112", "1121", "1220", "1311", "1313", "1314", "1315"), _ACCOUNT),
    # Arrears, a plan that ended, and a key sent to the address of another plan.
    **dict.fromkeys(("1113", "1309"), _BILL),
    **dict.fromkeys(("1211", "1221", "1222"), _UNKNOWN),
    **dict.fromkeys(("1210", "1212", "1213", "1214", "1215", "1231"), _BAD),
    "1261": Code(Cause.OVERFLOW),
    # A policy said no; the same text would be refused again.
    **dict.fromkeys(("1300", "1301"), _BAD),
    **dict.fromkeys(("1302", "1303"), _RATE),
    **dict.fromkeys(("1305", "1312"), _BUSY),
    **dict.fromkeys(("1304", "1308", "1310", "1316", "1317", "1318", "1319", "1320", "1321"), _QUOTA),
}
"""Every code we know; 1303 to 1321 are from reports, the others from the documents."""

BAD_PARAMETER = "1210"
"""The code for a parameter that a model does not take."""

_RESET = re.compile(
    r"resets? (?:at )?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)?\s*(Z|UTC|[+-]\d\d:?\d\d)?", re.IGNORECASE
)
_LOCAL = timezone(timedelta(hours=8))
"""The zone of times without one: z.ai writes them in that of Singapore (can1357/oh-my-pi#11014)."""


def reset_in(text: str, now: datetime) -> int | None:
    """Seconds until the time at which a text says that a limit is reset, None where it names none or one long gone."""
    found = _RESET.search(text)
    if found is None:
        return None
    day, clock, zone = found.groups()
    if zone in ("Z", "z", "UTC", "utc"):
        zone = "+0000"
    try:
        at = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=_LOCAL)
        if zone is not None:
            at = datetime.strptime(f"{day} {clock} {zone}", "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None
    seconds = (at - now.astimezone(UTC)).total_seconds()
    return None if seconds <= 0 else int(seconds) + 1
