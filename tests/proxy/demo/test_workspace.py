"""The pretended repository is the same every time, and different where the salt says so."""

from trimtab.demo.workspace import environment, file, offers, system
from trimtab.tokens import tokenizer


def test_the_system_prompt_has_some_two_thousand_tokens() -> None:
    assert 1_600 < tokenizer().count(system("0000")) < 2_400


def test_the_same_turn_reads_the_same_file() -> None:
    assert file(3, "0001") == file(3, "0001")


def test_another_salt_changes_a_text_but_not_its_size() -> None:
    assert file(3, "0001") != file(3, "0002")
    assert len(file(3, "0001")) == len(file(3, "0002"))
    assert system("0001") != system("0002")


def test_later_files_are_longer() -> None:
    lengths = [len(file(turn, "0000")) for turn in (1, 5, 20)]
    assert lengths == sorted(lengths)


def test_a_file_is_python() -> None:
    compile(file(4, "0000"), "file.py", "exec")


def test_the_tools_say_which_members_they_need() -> None:
    tools = {offer.name: offer.schema for offer in offers("0000")}
    assert len(tools) == 6
    assert tools["read_file"]["required"] == ["path"]
    assert set(tools["run_command"]["properties"]) == {"command", "seconds"}


def test_an_environment_moves_on_with_its_turn_and_only_the_first_lists_the_files() -> None:
    blocks = [environment(turn, "0000") for turn in range(4)]
    assert len(set(blocks)) == 4
    assert ["Files\n" in block.replace("Visible Files", "") for block in blocks] == [True, False, False, False]
    assert all(
        block.startswith("<environment_details>") and block.endswith("</environment_details>") for block in blocks
    )


def test_another_salt_is_another_time_of_the_same_size() -> None:
    assert environment(2, "0001") != environment(2, "0002")
    assert len(environment(2, "0001")) == len(environment(2, "0002"))
