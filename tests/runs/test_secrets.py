"""Access tokens appear in nothing that a run writes or says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftcli.text import without_secrets
from tests.tiny import run_cli

TOKEN = "hf_abcdefghijklmnop123456"
OTHER = "a-secret-of-another-shape"


def test_no_token_anywhere(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: {revision: '${env:HF_TOKEN}'}\n", encoding="utf-8")
    done = run_cli(
        "finetune", "recipe.yaml", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--max-steps", "1",
        "--out", "run", "--set", f"data.revision={TOKEN}", cwd=tmp_path, env={"HF_TOKEN": OTHER},
    )  # fmt: skip
    assert done.code == 0, done.stderr
    written = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert any("***" in file.read_text(encoding="utf-8") for file in written if file.name == "recipe.yaml")
    for file in written:
        for secret in (TOKEN, OTHER):
            assert secret.encode() not in file.read_bytes(), file
    said = run_cli("finetune", "--model", f"https://me:{OTHER}@hub/x", "--data", "x", cwd=tmp_path)
    assert said.code == 2
    assert OTHER not in said.stderr


SECRETS = {
    "HF_TOKEN": "a-secret-of-another-shape",
    "WANDB_API_KEY": "0123456789abcdef0123",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
    "MY_DB_PASSWORD": "correct horse battery",
    "SOME_SERVICE_TOKEN": "zzyzx-zzyzx-zzyzx",
}
SHAPES = (
    "hf_abcdefghijklmnop", "ghp_abcdefghijklmnop", "github_pat_11ABCDEFG_abcdef", "glpat-abcdefgh_1234",
    "sk-abcdefgh1234", "AKIAIOSFODNN7EXAMPLE",
)  # fmt: skip


def test_what_counts_as_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
        assert value not in without_secrets(f"x{value}y"), name
    for shape in SHAPES:
        assert without_secrets(f"revision={shape} x") == "revision=*** x"
    for address, shown in {
        "https://me:secret@hub/x": "https://***@hub/x",
        "https://secret@hub/x": "https://***@hub/x",
        "https://hub/x?a=1&token=secret&b=2": "https://hub/x?a=1&token=***&b=2",
        "https://hub/x?X-Amz-Signature=secret": "https://hub/x?X-Amz-Signature=***",
        "Authorization: Bearer abcdefgh.ij": "Authorization: Bearer ***",
    }.items():
        assert without_secrets(address) == shown
    for innocent in ("owner/name:config", "name@host", "a?monkey=1", "tokens: 5", "https://hub/x@main", "hf_short"):
        assert without_secrets(innocent) == innocent


def test_no_variable_is_written_down(tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path) -> None:
    all_of_them = " ".join(f"${{env:{name}}}" for name in SECRETS)
    (tmp_path / "recipe.yaml").write_text(f"model: {{revision: '{all_of_them}'}}\n", encoding="utf-8")
    asked = ("finetune", "recipe.yaml", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--max-steps", "1")
    done = run_cli(*asked, "--out", "run", cwd=tmp_path, env=SECRETS)
    assert done.code == 0, done.stderr
    written = [file for file in (tmp_path / "run").rglob("*") if file.is_file() and file.suffix != ".safetensors"]
    for secret in SECRETS.values():
        assert secret not in done.stdout + done.stderr
        for file in written:
            assert secret.encode() not in file.read_bytes(), file


def test_a_recipe_written_again_can_be_read_again(
    tmp_path: Path, tiny_bert_dir: Path, reviews_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands for a token is no YAML of its own, also where a found batch size has the recipe written twice."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = ("finetune", "--model", str(tiny_bert_dir), "--data", str(reviews_dir), "--max-steps", "1", "--out", "run")
    done = run_cli(*asked, "--batch-size", "auto", "--set", f"data.revision={TOKEN}", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert TOKEN not in (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")
    shown = run_cli("recipe", "show", "run/recipe.yaml", "--json", cwd=tmp_path)
    assert shown.code == 0, shown.stderr
