"""The errors that the echo answers."""

from trimtab.echo.faults import Fault


def test_a_fault_has_a_status_a_message_and_perhaps_a_code() -> None:
    fault = Fault(429, "slow down", "rate_limit")
    assert (fault.status, fault.message, fault.code, str(fault)) == (429, "slow down", "rate_limit", "slow down")
    assert Fault(400, "no").code == ""
