"""`make bench-pretrain`: masked language modelling by ftcli beside the Trainer on the same job, turn by turn.

Both train the same random BERT on the same pieces of the same documents, batch, length, rate of masks and seed; the
Trainer with its collator for language modelling and dynamic padding, in fp32 (its default) and in bf16. Printed: real
tokens per second of the training loop alone, and ratios by round; kept as pretrain.json in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from contenders import run
from prepare import ROOT

HERE = Path(__file__).resolve().parent
CONTENDERS = ("ftcli", "ftcli-fp32", "trainer", "trainer-bf16")
LAYERS, HIDDEN = 4, 256
"""Those of preset:bert-mini."""


def given_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("BENCH_DATA"), type=Path, help="folder with imdb/")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    parser.add_argument("--out", type=Path, default=ROOT / ".bench")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(given: argparse.Namespace, folder: Path) -> None:
    """The documents, a random BERT with a vocabulary learnt from them, and the pieces for the peer."""
    import pyarrow.parquet as parquet
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from ftcli.data.examples import lengths
    from ftcli.data.pieces import Pieces, cut
    from ftcli.data.texts import Frame, documents
    from ftcli.models.tokenizers import train_wordpiece
    from ftcli.recipe.schema import TokenizerRecipe

    table = parquet.read_table(given.data / "imdb" / "unsupervised.parquet", columns=["text"])
    texts = table["text"].to_pylist()[: given.documents + 20]
    (folder / "data").mkdir()
    for split, part in (("train", texts[:-20]), ("validation", texts[-20:])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in part)
        (folder / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    tokenizer = train_wordpiece(texts, TokenizerRecipe(vocab_size=8000), 512)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HIDDEN // 64,
        intermediate_size=4 * HIDDEN, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    whole = documents(tokenizer, texts[:-20])
    pieces = Pieces(whole, Frame.of(tokenizer), cut(lengths(whole), given.max_length - 2))
    (folder / "pieces.json").write_text(json.dumps([piece["input_ids"].tolist() for piece in pieces]))


def ours(name: str, given: argparse.Namespace, folder: Path, seed: int) -> dict[str, Any]:
    """`ftcli pretrain` for one epoch; its own records hold the rate."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        out = Path(place) / "run"
        command = [
            sys.executable, "-m", "ftcli", "pretrain", "--model", str(folder / "model"), "--data", str(folder / "data"),
            "--objective", "mlm", "--out", str(out), "--epochs", "1", "--lr", "5e-4", "--seed", str(seed),
            "--batch-size", str(given.batch_size), "--max-length", str(given.max_length), "--quiet", "--set",
            "log.every=1000000", "--set", "eval.every=1000000", "--set", "corpus.dedup=false",
            *(("--precision", "fp32") if name.endswith("fp32") else ()),
        ]  # fmt: skip
        done = run(command, given.threads)
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        [train] = [record for record in records if record["split"] == "train"]
        precision = json.loads((out / "environment.json").read_text(encoding="utf-8"))["precision"]
        return {"tokens_per_s": train["tokens_per_s"], "loss": train["loss"], "precision": precision,
                "peak_mib": done.peak_mib}  # fmt: skip


def peer(name: str, given: argparse.Namespace, folder: Path, seed: int) -> dict[str, Any]:
    """The Trainer in a process of its own."""
    job = {"name": name, "folder": str(folder), "batch_size": given.batch_size, "seed": seed}
    done = run([sys.executable, str(HERE / "pretrain.py"), "--peer", json.dumps(job)], given.threads)
    return {**json.loads(done.stdout.splitlines()[-1]), "peak_mib": done.peak_mib}


def train_peer(job: dict[str, Any]) -> None:
    """One epoch of the Trainer; prints what was found."""
    from peer import Clock
    from transformers import (
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(job["seed"])
    folder = Path(job["folder"])
    pieces = json.loads((folder / "pieces.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForMaskedLM.from_pretrained(folder / "model")
    settings = TrainingArguments(
        output_dir=tempfile.mkdtemp(prefix="bench-"), per_device_train_batch_size=job["batch_size"], num_train_epochs=1,
        learning_rate=5e-4, weight_decay=0.01, seed=job["seed"], bf16=job["name"].endswith("bf16"), use_cpu=True,
        save_strategy="no", report_to=[], logging_steps=50, disable_tqdm=True,
    )  # fmt: skip
    clock = Clock("cpu")
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    rows: Any = [{"input_ids": piece} for piece in pieces]
    result = Trainer(
        model=model, args=settings, train_dataset=rows, data_collator=collator, callbacks=[clock]
    ).train()  # fmt: skip
    precision = "bf16" if job["name"].endswith("bf16") else "fp32"
    rate = sum(map(len, pieces)) / sum(clock.epochs)
    print(json.dumps({"tokens_per_s": rate, "loss": result.training_loss, "precision": precision}))


def main() -> None:
    """Measure, print a table, keep the numbers."""
    given = given_arguments()
    if given.peer:
        train_peer(json.loads(given.peer))
        return
    if given.data is None or not (given.data / "imdb" / "unsupervised.parquet").is_file():
        sys.exit("error: no imdb/unsupervised.parquet\nhint: --data FOLDER, or BENCH_DATA=FOLDER")
    names = given.contenders.split(",")
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        prepare(given, Path(place))
        for number in range(given.rounds):
            found: dict[str, Any] = {}
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name] = (ours if name.startswith("ftcli") else peer)(name, given, Path(place), number)
                print(f"round {number + 1}: {name} {found[name]}", file=sys.stderr, flush=True)
            rounds.append(found)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "pretrain.json").write_text(json.dumps(rounds, indent=1) + "\n", encoding="utf-8")
    show(names, rounds)


def show(names: list[str], rounds: list[dict[str, Any]]) -> None:
    """A Markdown table."""
    print("|  | computes in | tokens/s | over the Trainer | loss of the epoch | peak memory |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in names:
        own = [found[name] for found in rounds]
        over = ""
        if "trainer" in rounds[0] and name != "trainer":
            ratios = [found[name]["tokens_per_s"] / found["trainer"]["tokens_per_s"] for found in rounds]
            over = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rate = statistics.median(one["tokens_per_s"] for one in own)
        loss = statistics.mean(one["loss"] for one in own)
        peak = max(one["peak_mib"] for one in own)
        print(f"| {name} | {own[0]['precision']} | {rate:,.0f} | {over} | {loss:.3f} | {peak:,.0f} MiB |")


if __name__ == "__main__":
    main()
