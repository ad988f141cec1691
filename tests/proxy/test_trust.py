"""Certificates that are read later, and then by whoever needs them first."""

import ssl

import pytest
from aiohttp import connector

from trimtab import trust


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """The contexts that read the system's certificates, in order."""
    found: list[ssl.SSLContext] = []
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda context, *_: found.append(context))
    monkeypatch.setattr(trust, "_owing", [])
    return found


def wrapped(context: ssl.SSLContext) -> ssl.SSLObject:
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="up.test")


def test_a_context_reads_them_at_its_first_connection_and_once(loads: list[ssl.SSLContext]) -> None:
    with trust.later():
        context = ssl.create_default_context()
    assert not loads
    assert not trust.ready()
    wrapped(context)
    wrapped(context)
    assert loads == [context]
    assert trust.ready()
    assert type(context) is ssl.SSLContext
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_they_are_read_ahead_where_they_are_looked_at(loads: list[ssl.SSLContext]) -> None:
    with trust.later():
        context, blind = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        blind.set_default_verify_paths()
    trust.read()
    trust.read()
    assert loads == [context]
    assert trust.ready()
    wrapped(blind)
    assert loads == [context, blind]


def test_contexts_made_outside_are_as_ever(loads: list[ssl.SSLContext]) -> None:
    with pytest.raises(ValueError, match="inside"), trust.later():
        raise ValueError("inside")
    context = ssl.create_default_context()
    assert type(context) is ssl.SSLContext
    assert loads == [context]
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_default_verify_paths()
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)


def test_those_of_aiohttp_end_up_with_the_certificates_of_the_system() -> None:
    trust.read()
    known = connector._SSL_CONTEXT_VERIFIED
    assert type(known) is ssl.SSLContext
    # Those in a folder (SSL_CERT_DIR) are read as connections ask for them, which one of this process may have done.
    there = known.get_ca_certs()
    assert [one for one in ssl.create_default_context().get_ca_certs() if one not in there] == []
    assert (known.verify_mode, known.check_hostname) == (ssl.CERT_REQUIRED, True)
