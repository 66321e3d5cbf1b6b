"""Access tokens appear in nothing that a run writes or says."""

from __future__ import annotations

from pathlib import Path

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
