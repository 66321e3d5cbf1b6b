"""Tuning on instructions and dialogues: answers alone are learnt, conversations do not see each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftcli.data.conversations import rendered, turns_of
from ftcli.models.unpadded import run_unpadded
from ftcli.tasks.causal_lm import CausalLM
from tests.tasks.samples import LEARNS, replies
from tests.tiny import run_cli, tiny_model, write_jsonl


def talks(count: int, seed: int) -> list[dict[str, Any]]:
    """Conversations of one to three questions."""
    rows = replies(3 * count, seed, asked="user", answer="assistant")
    found = []
    for i in range(count):
        turns = [
            {"role": r, "content": row[r]} for row in rows[3 * i : 3 * i + 1 + i % 3] for r in ("user", "assistant")
        ]
        found.append({"messages": turns})
    return found


def opened(kind: str, folder: Path, length: int = 200) -> tuple[CausalLM, Any]:
    tiny_model(kind, folder / kind)
    task = CausalLM(AutoTokenizer.from_pretrained(folder / kind), length)
    model: Any = AutoModelForCausalLM.from_pretrained(folder / kind, dtype=torch.float32).eval()
    task.prepare(model)
    return task, model


def scored(task: CausalLM, model: Any, examples: Any) -> list[tuple[float, int, float]]:
    with torch.no_grad():
        batch = task.collate(examples)
        return [p["told"] for p in task.decode(task.forward(model, batch), batch)]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_loss_is_of_answers_alone_packed_or_not(kind: str, tmp_path: Path) -> None:
    """By hand from the library's logits; end to end without padding as with it; whatever stands beside."""
    task, model = opened(kind, tmp_path)
    rows = talks(5, 1)
    examples = task.encode(rows)
    padded = scored(task, model, examples)
    for row, example, (nll, count, _) in zip(rows, examples, padded, strict=True):
        whole = rendered(task.tokenizer, turns_of(row, None))
        encoded = task.tokenizer(whole.text, return_offsets_mapping=True, return_tensors="pt", add_special_tokens=False)
        ids = encoded["input_ids"]
        labels = ids.clone()
        for place, (start, _) in enumerate(encoded["offset_mapping"][0].tolist()):
            if not any(a <= start < b for a, b in whole.answers):
                labels[0, place] = -100
        with torch.no_grad():
            loss = float(model(ids, labels=labels).loss)
        assert count == int((labels != -100).sum()) == len(example["labels"])
        assert nll / count == pytest.approx(loss, rel=1e-4)
        ends = sum(int(token) == task.tokenizer.eos_token_id for token in example["labels"])
        assert ends == sum(turn["role"] == "assistant" for turn in row["messages"])
    assert run_unpadded(model)
    packed = scored(task, model, examples)
    assert [p[0] for p in packed] == pytest.approx([p[0] for p in padded], rel=1e-4)
    others = task.encode(talks(5, 9))
    assert scored(task, model, [examples[2], *others])[0][0] == pytest.approx(packed[2][0], rel=1e-5)


def test_gradients_without_padding_are_those_with_it(tmp_path: Path) -> None:
    task, model = opened("gpt2", tmp_path)
    batch = task.collate(task.encode(talks(5, 1)))
    found = []
    for unpadded in (False, True):
        if unpadded:
            assert run_unpadded(model)
        model.zero_grad()
        task.losses(task.forward(model, batch), batch)["loss"].backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-4 * float(gradient.abs().max()) + 1e-7), name


def test_what_is_too_long_is_cut_and_counted(tmp_path: Path) -> None:
    task, model = opened("gpt2", tmp_path, 40)
    examples = task.encode(talks(6, 1))
    assert any(example["truncated"] for example in examples)
    assert all(len(example["input_ids"]) < 40 for example in examples)
    silent = task.encode([{"prompt": "the film " * 40, "response": "good"}])
    assert len(silent[0]["labels"]) == 0
    assert scored(task, model, silent) == [(0.0, 0, 0.0)]
    asked = task.encode([{"prompt": f"{'the film ' * 40}was good"}])[0]
    assert asked["truncated"]
    assert len(asked["input_ids"]) == 20, "half is left for the answer"
    assert "was good" in task.tokenizer.decode(asked["input_ids"])


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that knows its conversations by heart, and its data."""
    folder = tmp_path_factory.mktemp("causal")
    data = folder / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        write_jsonl(talks(16, 0), data / f"{split}.jsonl")
    model = tiny_model("gpt2", folder / "model")
    done = run_cli(
        "finetune", "--model", str(model), "--data", str(data), "--out", str(folder / "run"), *LEARNS,
        "--epochs", "200", "--set", "eval.every=200", "--set", "generation.max_new_tokens=12",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    # Before and after, for a person to see.
    assert "before training  validation loss" in done.stderr
    assert done.stderr.count("\n  -> ") == 2 * 3
    return folder / "run", data


def predicted(run: Path, row: Any, *more: str) -> str:
    done = run_cli("predict", str(run), "-q", *more, stdin=json.dumps(row) + "\n")
    assert done.code == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["messages"] == row["messages"]
    return str(answer["prediction"])


def test_conversations_are_gone_on_with(learnt: tuple[Path, Path]) -> None:
    """From the last turn of the user, whether an answer follows it or not; by the library alone to the same words."""
    run, _ = learnt
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert report["task"] == "causal-lm"
    assert report["metrics"]["token_accuracy"] > 0.95
    assert set(report["intervals"]) == {"loss", "perplexity", "token_accuracy"}
    rows = [row for row in talks(16, 0) if len(row["messages"]) > 2]
    right = [predicted(run, row) == row["messages"][-1]["content"] for row in rows[:4]]
    assert sum(right) >= 3
    row = {"messages": rows[0]["messages"][:-1]}
    assert predicted(run, row) == predicted(run, rows[0])
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(run / "model", dtype=torch.float32).eval()
    ids = tokenizer.apply_chat_template(
        row["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids.pop("token_type_ids", None)
    whole = model.generate(**ids, max_new_tokens=12, do_sample=False)
    said = tokenizer.decode(whole[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    assert said == predicted(run, row)
    assert predicted(run, row, "--set", "generation.max_new_tokens=1") != said


def test_adapted_it_still_answers(learnt: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = learnt
    done = run_cli(
        "finetune", "--model", str(run), "--data", str(data), "--out", str(tmp_path / "lora"), "--method", "lora",
        "--max-steps", "2", "--lr", "1e-9", "--set", "generation.max_new_tokens=12",
    )  # fmt: skip
    assert done.code == 0, done.stderr
    row = talks(4, 0)[2]
    assert predicted(tmp_path / "lora", row) == predicted(run, row)
    refused = run_cli("finetune", "--model", str(run), "--data", str(data), "--method", "prefix", cwd=tmp_path)
    assert refused.code == 2
    assert "--method lora" in refused.stderr


def test_bad_conversations_are_named(learnt: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = learnt
    rows = [*talks(3, 1), {"messages": [{"role": "user", "content": "a"}]}]
    data = write_jsonl(rows, tmp_path / "train.jsonl")
    done = run_cli("finetune", "--task", "causal-lm", "--model", str(run), "--data", str(data), cwd=tmp_path)
    assert done.code == 3
    assert "train.jsonl, line 4: messages has no turn of the assistant" in done.stderr
    done = run_cli(
        "predict", str(run), "-q", stdin='{"messages": [{"role": "user", "content": "a"}]}\n{"messages": 3}\n'
    )
    assert done.code == 3
    assert "no list of messages" in json.loads(done.stdout.splitlines()[1])["error"]


@pytest.mark.parametrize(("model", "said"), [("preset:t5-tiny", "--task seq2seq"), ("preset:bert-tiny", "decoder")])
def test_what_is_no_decoder_is_refused(model: str, said: str, learnt: tuple[Path, Path], tmp_path: Path) -> None:
    done = run_cli(
        "finetune", "--task", "causal-lm", "--model", model, "--data", str(learnt[1]), "--out", str(tmp_path / "x")
    )
    assert done.code == 2, done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("model", "row", "task"),
    [
        ("gpt2-tiny", {"instruction": "say {}", "input": "", "output": "it is {} and {}"}, "causal-lm"),
        (
            "gpt2-tiny",
            {"conversations": [{"from": "human", "value": "{}"}, {"from": "gpt", "value": "a"}]},
            "causal-lm",
        ),
        ("t5-tiny", {"input": "say {}", "output": "it is {} and {}"}, "seq2seq"),
        ("t5-tiny", {"de": "sag {}", "fr": "dis {} et {}", "id": "{}"}, "seq2seq"),
        ("t5-tiny", {"article": "say {}", "highlights": "it is {} and {}", "id": "{}"}, "seq2seq"),
    ],
)
def test_auto_goes_by_the_data_and_what_the_model_is(model: str, row: Any, task: str, tmp_path: Path) -> None:
    text = json.dumps(row)
    lines = [text.replace("{}", f"{'very ' * (i % 5)}{i}") for i in range(40)]
    data = tmp_path / "train.jsonl"
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = run_cli(
        "finetune", "--model", f"preset:{model}", "--data", str(data), "--dry-run", "--json",
        "--set", "model.tokenizer.vocab_size=400", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["task"] == task
    assert f"task {task}, since" in done.stderr
