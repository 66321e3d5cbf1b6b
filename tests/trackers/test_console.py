import io
import sys

import pytest

from ftcli.trackers.console import Console


class Clock:
    """Time that passes only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(console, clock, steps=50):
    with console.progress("train", steps, "steps") as work:
        for step in range(steps):
            clock.now += 1.0
            work.advance(rows=8, loss=lambda step=step: 1.0 / (step + 1), **{"best f1_macro": 0.891234})


def test_plain_progress_is_a_line_every_ten_seconds_and_one_at_the_end():
    clock, stream = Clock(), io.StringIO()
    train(Console(stream=stream, clock=clock), clock)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "train 10/50 steps  8.0 rows/s  left 0:00:40  loss 0.1  best f1_macro 0.8912"
    assert lines[-1] == "train 50/50 steps  8.0 rows/s  took 0:00:50  loss 0.02  best f1_macro 0.8912"
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)


def test_a_resumed_run_counts_from_where_it_was():
    clock, stream = Clock(), io.StringIO()
    with Console(stream=stream, clock=clock).progress("train", 100, "steps", start=90) as work:
        clock.now += 20
        work.advance(5)
    assert stream.getvalue().splitlines() == [
        "train 95/100 steps  0.25 steps/s  left 0:00:20",
        "train 95/100 steps  0.25 steps/s  took 0:00:20",
    ]


def test_unknown_total_and_no_work():
    clock, stream = Clock(), io.StringIO()
    console = Console(stream=stream, clock=clock)
    with console.progress("predict", None, "rows") as work:
        clock.now += 11
        work.advance(22)
    with console.progress("nothing", 0, "rows"):
        pass
    assert stream.getvalue().splitlines() == [
        "predict 22 rows  2.0 rows/s", "predict 22 rows  2.0 rows/s  took 0:00:11", "nothing 0/0 rows  took 0:00:00",
    ]  # fmt: skip


def test_messages_are_made_harmless():
    stream = io.StringIO()
    console = Console(stream=stream)
    console.info("two\nlines \x1b[31m")
    console.note("kept 10 % \u202eback")
    console.warn("bell \x07 [bold]x[/bold]")
    assert stream.getvalue() == (
        "two\nlines \\x1b[31m\nnote: kept 10 % \\u202eback\nwarning: bell \\x07 [bold]x[/bold]\n"
    )


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_says_nothing(stream):
    clock = Clock()
    console = Console(quiet=True, stream=stream, clock=clock)
    console.warn("no")
    train(console, clock)
    assert stream.getvalue() == ""


def test_closed_stderr_is_quiet(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    clock = Clock()
    train(Console(clock=clock), clock)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_plain_text_gets_it(monkeypatch, name, value):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    clock, stream = Clock(), Terminal()
    train(Console(stream=stream, clock=clock), clock)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().endswith("best f1_macro 0.8912\n")


def test_a_terminal_gets_a_bar_and_keeps_one_line(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    clock, stream = Clock(), Terminal()
    console = Console(stream=stream, clock=clock)
    with console.progress("outer", 2, "epochs") as outer:
        train(console, clock, steps=5)
        outer.advance()
        console.info("[between] \x1b]0;title\x07")
    shown = stream.getvalue()
    assert "\x1b[" in shown
    assert "\x1b]0;" not in shown
    assert "[between] \\x1b]0;title\\x07" in shown
    assert "train 5/5 steps" in shown


def test_an_exception_leaves_no_line_and_no_bar():
    stream = io.StringIO()
    with pytest.raises(KeyError), Console(stream=stream).progress("train", 5, "steps"):
        raise KeyError
    assert stream.getvalue() == ""
