"""Counting tokens offline."""

import asyncio
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import tiktoken

from trimtab import tokens
from trimtab.tokens import TABLES, Tokenizer, _sizing, tokenizer

PROSE = "The rudder turns the ship, and the trim tab turns the rudder.\n"
TEXTS = {
    "empty": "",
    "prose": PROSE * 40,
    "code": Path(__file__).read_text(),
    "chinese": "船舵很大，小舵片却能转动它。" * 30,
    "emoji": "🚢⚓️👩‍✈️" * 40,
    "json": '{"path": "src/main.py", "line": 1042, "ok": true}\r\n' * 40,
    "special": "before <|endoftext|> and <|fim_prefix|> after",
}


def whole(name: str, text: str) -> int:
    return len(tiktoken.get_encoding(name).encode_ordinary(text))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("counting must not touch the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("requests.get", refuse)
    for name in tokens.TABLES:
        tokenizer(name).count("load the table before tiktoken is asked directly")


@pytest.mark.parametrize("name", tokens.TABLES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_counts_equal_tiktokens_own(name: str, text: str) -> None:
    assert tokenizer(name).count(text) == whole(name, text)


def test_known_counts() -> None:
    assert tokenizer().count("hello world") == 2
    assert tokenizer().count("<|endoftext|>") == 7
    assert tokenizer("o200k_base").count("hello world") == 2


def test_cl100k_is_the_default_and_there_is_one_of_each() -> None:
    assert tokenizer() is tokenizer("cl100k_base")
    assert tokenizer("o200k_base").name == "o200k_base"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'p50k_base'.*cl100k_base and o200k_base"):
        tokenizer("p50k_base")


@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000, 100_001, 350_000])
def test_pieces_lose_nothing_and_stay_small(size: int) -> None:
    text = (PROSE * 6_000)[:size]
    parts = list(tokens.pieces(text, tokens.PIECE))
    assert "".join(parts) == text
    assert all(len(part) <= tokens.PIECE for part in parts)


def test_pieces_end_at_a_line_end_where_one_is_near() -> None:
    parts = list(tokens.pieces(PROSE * 6_000, tokens.PIECE))
    assert [part[-1] for part in parts] == ["\n"] * len(parts)
    assert [len(part) for part in tokens.pieces("x" * 250_000, tokens.PIECE)] == [100_000, 100_000, 50_000]


@pytest.mark.parametrize("text", [PROSE * 6_000, PROSE.replace("\n", " ") * 6_000, TEXTS["code"] * 60])
def test_a_cut_costs_two_tokens_at_most(text: str) -> None:
    cuts = len(list(tokens.pieces(text, tokens.PIECE))) - 1
    assert cuts > 0
    assert abs(tokenizer().count(text) - whole("cl100k_base", text)) <= 2 * cuts


@pytest.mark.parametrize("name", tokens.TABLES)
def test_white_space_on_which_tiktoken_panics_is_counted(name: str) -> None:
    assert 1_200_000 / 128 < tokenizer(name).count(" " * 1_200_000 + "x") < 1_200_000 / 50


def test_a_real_panic_is_survived(capfd: pytest.CaptureFixture[str]) -> None:
    encode = tiktoken.get_encoding("cl100k_base").encode_ordinary
    panics = []

    def stretch(text: str) -> list[int]:
        try:
            return encode(text * 12 + "x" if len(text) == tokens.PIECE else text)
        except BaseException as error:
            panics.append(type(error))
            raise

    assert Tokenizer("cl100k_base", stretch).count(" " * tokens.PIECE) > 0
    assert [panic.__name__ for panic in panics] == ["PanicException"]
    assert not issubclass(panics[0], Exception)
    capfd.readouterr()  # the panic also writes to stderr


def test_a_text_that_always_fails_is_estimated_by_its_bytes() -> None:
    def broken(_: str) -> list[int]:
        raise RuntimeError("stack overflow")

    assert Tokenizer("cl100k_base", broken).count("ä" * 4_002) == 2_001
    assert Tokenizer("cl100k_base", broken).count("\ud83dx") == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_interrupts_and_cancellation_pass(error: type[BaseException]) -> None:
    def interrupted(_: str) -> list[int]:
        raise error

    with pytest.raises(error):
        Tokenizer("cl100k_base", interrupted).count("text")


@pytest.mark.parametrize("text", ["\ud83d", "cut emoji \ud83d", "\udc00\ud800 both", "a\ud83d\ude00b"])
def test_lone_surrogates_are_counted(text: str) -> None:
    assert tokenizer().count(text) > 0


def test_threads_share_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    loads, expected = [], whole("cl100k_base", PROSE * 100)
    load = tiktoken.get_encoding

    def watched(name: str) -> tiktoken.Encoding:
        loads.append(name)
        return load(name)

    monkeypatch.setattr(tiktoken, "get_encoding", watched)
    fresh = Tokenizer("cl100k_base")
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(fresh.count, [PROSE * 100] * 32)) == {expected}
    assert loads == ["cl100k_base"]


def test_importing_does_not_load_tiktoken() -> None:
    code = "import sys, trimtab.tokens as t; t.tokenizer(); assert 'tiktoken' not in sys.modules"
    root = Path(tokens.__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(root)})


def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    with tokens._packaged_table("cl100k_base"):
        assert os.environ["TIKTOKEN_CACHE_DIR"] == str(tokens.ENCODINGS)
    assert "TIKTOKEN_CACHE_DIR" not in os.environ


def test_a_users_cache_is_used_only_where_it_holds_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    (tmp_path / tokens.TABLES["o200k_base"]).touch()
    with tokens._packaged_table("o200k_base"):
        assert os.environ["TIKTOKEN_CACHE_DIR"] == str(tmp_path)
    with tokens._packaged_table("cl100k_base"):
        assert os.environ["TIKTOKEN_CACHE_DIR"] == str(tokens.ENCODINGS)
    assert os.environ["TIKTOKEN_CACHE_DIR"] == str(tmp_path)


def test_the_licence_names_the_tables_as_they_lie_there() -> None:
    licence = (tokens.ENCODINGS / "LICENSE").read_text()
    for name, file in tokens.TABLES.items():
        assert f"{name} " in licence
        assert file in licence
        assert hashlib.sha256((tokens.ENCODINGS / file).read_bytes()).hexdigest() in licence


def test_it_loads_in_any_thread_and_counts_in_the_one_that_claims_it() -> None:
    tokens = Tokenizer("cl100k_base")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(tokens.load).result()
    tokens.claim()
    assert tokens.count("hello world") == 2


def test_two_texts_begin_alike_up_to_the_token_in_which_they_part() -> None:
    encode = tokenizer().alike
    assert encode("hello world", "hello war") == 1
    assert encode("hello world", "hello world again") == 2
    assert encode("hello world", "hello world") == 2
    assert encode("", "x") == 0


def test_where_tiktoken_panics_the_common_text_is_counted() -> None:
    def broken(text: str) -> list[int]:
        if len(text) > 3:
            raise RuntimeError("too long")
        return [1] * len(text)

    assert Tokenizer("made", broken).alike("abcd", "abxx") == 2


def test_an_encoding_without_a_buffer_is_counted_by_its_list() -> None:
    encoding = SimpleNamespace(encode_ordinary=str.split)
    assert _sizing(encoding)("one two three") == 3


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("text", ["", "def f(x): return x", "\U0001f600\u6771\u4eac", "<|endoftext|>", "a\ud83db"])
def test_the_buffer_holds_as_many_as_the_list(name: str, text: str) -> None:
    tokenizer(name).load()
    encoding = tiktoken.get_encoding(name)
    assert hasattr(encoding._core_bpe, "encode_to_tiktoken_buffer")
    assert _sizing(encoding)(text) == len(encoding.encode_ordinary(text))
