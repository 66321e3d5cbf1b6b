"""`--help` answers without any of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "evaluate", "sklearn", "peft", "pandas", "numpy", "pyarrow")
COMMANDS = [
    [],
    ["finetune"],
    ["evaluate"],
    ["predict"],
    ["compare"],
    ["curve"],
    ["recipe"],
    ["recipe", "show"],
    ["recipe", "schema"],
]

PROBE = """
import sys
from ftcli.cli.app import main
sys.argv = ["ftcli", *{arguments!r}, "--help"]
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
loaded = [name for name in {heavy!r} if name in sys.modules]
sys.stderr.write(f"CODE {{code}} LOADED {{loaded}}")
"""


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda a: " ".join(a) or "ftcli")
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = PROBE.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "CODE 0 LOADED []"
    assert "Usage" in done.stdout
    if not arguments:
        assert "ftcli finetune --model bert-base-cased --data imdb" in done.stdout


def test_help_of_scoring_tells_its_own_batch_size() -> None:
    for command in ("evaluate", "predict", "compare"):
        done = subprocess.run(
            [sys.executable, "-m", "ftcli", command, "--help"], capture_output=True, text=True, timeout=60, check=True
        )
        assert "gradient_accumulation" not in done.stdout
        assert "when scoring" in done.stdout
