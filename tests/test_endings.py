"""What the endings of several processes come to: one cause, one message, one exit code."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from ftcli.endings import Ending, cause, ending, leave_word, restartable, verdict
from ftcli.errors import DataError, LostWorkerError, Stopped
from ftcli.places import Place

KILL, TERM = -signal.SIGKILL, -signal.SIGTERM


def said(rank: int, code: int, at: float, message: str = "said", hint: str = "") -> Ending:
    return Ending(rank, code, at, {"code": code, "message": message, "hint": hint, "at": at})


def test_a_word_is_left_and_read(tmp_path: Path) -> None:
    """In the form of torch's own error files, without secrets."""
    file = tmp_path / "error.json"
    place = Place(1, 2, 1, 2, "torchrun", "localhost", 1)
    error = DataError("row 7 of hf_abcdefghijklmnop", hint="mend it")
    assert leave_word(place, error, {"TORCHELASTIC_ERROR_FILE": str(file)})
    found = json.loads(file.read_text())
    assert found["message"]["extraInfo"]["timestamp"].isdigit()
    assert "hf_abc" not in file.read_text()
    own = ending(1, 3, 0.0, found)
    assert own.word is not None
    assert (own.code, own.word["hint"]) == (3, "mend it")
    assert ending(1, 3, 5.0, {"message": "<NONE>"}) == Ending(1, 3, 5.0)
    assert ending(1, KILL, 5.0, found).word is None, "killed after it had spoken"
    assert not leave_word(place, error, {})
    assert not leave_word(place, error, {"TORCHELASTIC_ERROR_FILE": str(tmp_path / "no" / "such")})


@pytest.mark.parametrize(
    ("endings", "rank"),
    [
        ([said(0, 7, 10.9), Ending(1, KILL, 10.0)], 1),
        ([Ending(0, TERM, 9.0), said(1, 1, 9.5)], 1),
        ([said(0, 75, 9.0), said(1, 3, 9.5)], 1),
        ([said(0, 2, 9.8), said(1, 2, 9.2)], 1),
        ([Ending(0, -signal.SIGSEGV, 9.0), said(1, 7, 9.0), Ending(2, KILL, 39.0)], 0),
        ([said(0, 7, 9.0), Ending(1, KILL, 39.0)], 0),
        ([Ending(0, KILL, 9.0), Ending(1, KILL, 39.0)], 0),
        ([Ending(0, TERM, 9.0), said(1, 75, 12.0)], 1),
    ],
    ids=["died before its peer saw it", "not who was stopped for it", "not who saved for it", "the first of several",
         "a crash, its witness, and one stopped", "a hung one did not die", "the first killed", "who has a word"],
)  # fmt: skip
def test_the_cause(endings: list[Ending], rank: int) -> None:
    assert cause(endings).rank == rank


def test_one_that_hangs_is_named() -> None:
    error = verdict([said(0, 7, 9.0, hint="go on"), Ending(1, KILL, 39.0)], 2, "again")
    assert isinstance(error, LostWorkerError)
    assert error.message.startswith("process 1 of 2 on ")
    assert error.message.endswith("did not answer and was ended")
    assert error.hint == "go on"


def test_what_ends_how() -> None:
    crash = verdict([Ending(1, -signal.SIGSEGV, 1.0)], 2, "again")
    assert crash is not None
    assert (crash.exit_code, crash.hint) == (7, "again")
    assert "was killed by SIGSEGV" in crash.message
    odd = verdict([Ending(0, 9, 1.0)], 2, "again")
    assert odd is not None
    assert odd.exit_code == 7
    assert "ended with exit code 9" in odd.message
    early = verdict([Ending(0, TERM, 1.0), Ending(1, TERM, 1.0)], 2, "again")
    assert isinstance(early, Stopped)
    assert verdict([said(0, 0, 1.0), Ending(1, TERM, 2.0)], 2, "again") is None
    both = verdict([said(0, 3, 2.0, "row 7"), said(1, 3, 1.0, "row 7")], 2, "again")
    assert both is not None
    assert both.message == "row 7", "what all say is said as one would"


@pytest.mark.parametrize(
    ("own", "expected"),
    [(Ending(0, KILL, 1.0), True), (said(0, 7, 1.0), True), (said(0, 1, 1.0), True), (Ending(0, 9, 1.0), True),
     *((said(0, code, 1.0), False) for code in (2, 3, 4, 5, 6, 75, 130, 0)), (Ending(0, TERM, 1.0), False)],
)  # fmt: skip
def test_what_starting_anew_may_mend(own: Ending, expected: bool) -> None:
    assert restartable([own]) is expected
