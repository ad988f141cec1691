"""One request and its reply, as the stages see it."""

from typing import Any

import msgspec
import pytest

from trimtab.conversation import Text
from trimtab.dialects.base import Prompt
from trimtab.errors import StageFailed, UpstreamError
from trimtab.exchange import Exchange, Incoming
from trimtab.facts import Credentials, TokenCount
from trimtab.testing import StageBench

BODY = (
    b'{ "model" : "small",\n "messages": [ {"role":"user","content":"one"} , {"role":"assistant","content":"two"},'
    b' {"role":"user","content":"three"} ], "temperature": 1.0, "x-own": {"b":1,"a":2} }'
)


def exchange(body: bytes | dict[str, Any] = BODY, **options: Any) -> Exchange:
    return StageBench().exchange(body, **options)


def test_what_nobody_edits_leaves_as_it_came() -> None:
    assert exchange().conversation.render() == BODY


def test_an_edit_changes_one_message_and_stands_in_the_ledger() -> None:
    case = exchange()
    case.stage = "shorten"
    message = case.conversation.messages[0]
    shorter = message.with_blocks([Text(text="1")])
    assert case.edit(0, shorter, "too long")
    assert case.conversation.render() == BODY.replace(b'"one"', b'"1"')
    assert case.received.render() == BODY
    (edit,) = case.edits
    assert (edit.stage, edit.reason, edit.index, edit.member, edit.before, edit.after) == (
        "shorten",
        "too long",
        0,
        None,
        message,
        shorter,
    )


@pytest.mark.parametrize("index", [-1, 2])
def test_the_last_message_may_be_counted_from_the_end(index: int) -> None:
    case = exchange()
    case.edit(index, case.conversation.messages[-1].with_blocks([Text(text="3")]), "")
    assert [message["content"] for message in StageBench.sent(case)["messages"]] == ["one", "two", "3"]
    assert case.edits[0].index == 2


def test_a_message_is_removed() -> None:
    case = exchange()
    assert case.edit(1, None, "")
    assert case.conversation.render() == BODY.replace(b' , {"role":"assistant","content":"two"},', b" ,", 1)
    with pytest.raises(IndexError):
        case.edit(2, None, "")


def test_a_request_to_summarise_is_not_edited() -> None:
    case = exchange(headers={"x-request-compaction": "true"})
    assert not case.edit(0, None, "")
    assert (case.conversation, case.edits, case.conversation.render()) == (case.received, [], BODY)


def test_a_member_is_spliced_added_and_removed() -> None:
    case = exchange()
    case.set_member("temperature", 0.5, "")
    case.set_member("user", "\u00e9", "")
    case.set_member("x-own", None, "")
    body = BODY.replace(b"1.0", b"0.5").replace(b', "x-own": {"b":1,"a":2}', ',"user":"\u00e9"'.encode())
    assert case.conversation.render() == body
    assert [(edit.member, edit.before, edit.after) for edit in case.edits] == [
        ("temperature", b"1.0", b"0.5"),
        ("user", None, '"\u00e9"'.encode()),
        ("x-own", b'{"b":1,"a":2}', None),
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 1.0), ("model", "small"), ("x-own", {"b": 1, "a": 2}), ("absent", None)]
)
def test_a_value_that_stands_there_already_is_no_edit(name: str, value: object) -> None:
    case = exchange()
    case.set_member(name, value, "")
    assert (case.edits, case.conversation) == ([], case.received)


def test_a_spelling_is_not_changed_for_its_own_sake() -> None:
    body = rb'{"model":"gl\u006d\/1","stream_options": { "include_usage" : true },"messages":[]}'
    case = exchange(body)
    case.set_member("model", "glm/1", "")
    case.set_member("stream_options", {"include_usage": True}, "")
    assert (case.edits, case.conversation.render()) == ([], body)
    case.set_member("stream_options", {"include_usage": 1}, "")
    assert len(case.edits) == 1


def test_messages_are_no_member() -> None:
    case = exchange()
    with pytest.raises(ValueError, match="edit"):
        case.set_member("messages", [], "")
    assert case.conversation.render() == BODY


def test_facts_are_found_by_their_class_and_the_last_one_counts() -> None:
    case = exchange()
    assert case.get(TokenCount) is None
    case.put(TokenCount(total=1))
    case.put(TokenCount(total=2))
    case.put(Credentials(key=None))
    assert case.need(TokenCount).total == 2
    found = case.facts()
    found.clear()
    assert case.facts().keys() == {TokenCount, Credentials}


def test_a_fact_that_is_missing_names_the_stage_and_the_fact() -> None:
    case = exchange()
    case.stage = "risk"
    with pytest.raises(StageFailed, match="stage 'risk' failed: nobody put a TokenCount"):
        case.need(TokenCount)


@pytest.mark.parametrize("all_facts", [False, True])
def test_the_target_is_asked_anew_only_when_what_it_was_found_by_changed(all_facts: bool) -> None:
    asked = []
    bench = StageBench()
    case = bench.exchange(BODY)

    def resolve(exchange: Exchange) -> Any:
        asked.append(exchange.facts() if all_facts else exchange.get(TokenCount))
        return bench.pipeline.target(exchange)

    case._resolve = resolve
    assert (case.target.model.name, case.target.model.name, len(asked)) == ("small", "small", 1)
    case.set_member("model", "eyes", "")
    assert (case.target.model.name, len(asked)) == ("eyes", 2)
    case.put(TokenCount(total=9))
    assert (case.target.model.name, len(asked)) == ("eyes", 3)
    case.restore(case.snapshot())
    assert (case.target.model.name, len(asked)) == ("eyes", 4)
    case.put(Credentials(key=None))
    assert (case.target.model.name, len(asked)) == ("eyes", 5 if all_facts else 4)


def test_where_text_goes_does_not_depend_on_the_conversation() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}
    case = StageBench().exchange({"model": "auto", "messages": [{"role": "user", "content": [image]}]})
    case.put(TokenCount(total=9))
    case.set_member("model", "eyes", "a test")
    assert (case.target.model.name, case.text_target.model.name) == ("eyes", "small")
    assert case.conversation.model == "eyes"


def test_what_was_dropped_is_named_once() -> None:
    case = exchange()
    for name in ("b", "a", "b"):
        case.drop(name)
    assert case.dropped == ["b", "a"]


def test_a_snapshot_brings_everything_back() -> None:
    case = exchange()

    async def work() -> None:
        raise AssertionError("undone")

    def change(mark: str) -> None:
        case.edit(0, case.conversation.messages[0].with_blocks([Text(text=mark)]), mark)
        case.put(TokenCount(total=len(mark)))
        case.drop(mark)
        case.notes.append(mark)
        case.headers[f"x-{mark}"] = mark
        case.later(work)

    def told() -> tuple[Any, ...]:
        return (
            case.conversation.render(),
            case.facts(),
            list(case.edits),
            list(case.dropped),
            list(case.notes),
            dict(case.headers),
            list(case.pending),
        )

    change("kept")
    before, saved = told(), case.snapshot()
    change("undone")
    assert told() != before
    case.restore(saved)
    assert told() == before


@pytest.mark.anyio
async def test_a_model_is_asked_and_answers() -> None:
    bench = StageBench(answers=["a ship"])
    case = bench.exchange(BODY)
    prompt = Prompt(content=(Text(text="what is it?"),))
    assert (await case.ask("eyes", prompt)).text == "a ship"
    assert bench.asked == [("eyes", prompt)]
    with pytest.raises(UpstreamError, match="no answer was prepared"):
        await case.ask("eyes", prompt)


@pytest.mark.anyio
async def test_where_no_model_can_be_asked_the_stage_fails() -> None:
    bench = StageBench()
    conversation = bench.exchange(BODY).conversation
    case = Exchange(
        id="a",
        operation="inspect",
        incoming=Incoming("GET", "/"),
        conversation=conversation,
        resolve=bench.pipeline.target,
    )
    case.stage = "image-aging"
    with pytest.raises(StageFailed, match="stage 'image-aging' failed: no model"):
        await case.ask("eyes", Prompt(content=()))


def test_what_holds_keys_does_not_show_them() -> None:
    incoming = Incoming("POST", "/v1/messages", "beta=true", {"authorization": "Bearer sk-secret"}, "127.0.0.1")
    assert repr(incoming) == "Incoming(POST /v1/messages)"
    assert "sk-secret" not in f"{incoming}"


def test_whether_the_client_streams_is_known_from_its_request() -> None:
    assert exchange({"model": "small", "messages": [], "stream": True}).outcome.streamed
    assert not exchange(BODY).outcome.streamed
    assert exchange(BODY).dialect == "chat"
    assert msgspec.structs.asdict(exchange(BODY).outcome)["status"] is None


def test_many_messages_change_at_once() -> None:
    case = exchange()
    shorter = case.conversation.messages[0].with_blocks([Text(text="1")])
    assert case.edit_all({0: shorter, 1: None, 2: None}, "short")
    assert case.conversation.messages == (shorter,)
    assert [(edit.index, edit.after) for edit in case.edits] == [(2, None), (1, None), (0, shorter)]
    assert not case.edit_all({}, "nothing")
    assert not exchange(headers={"x-request-compaction": "true"}).edit_all({0: None}, "")
