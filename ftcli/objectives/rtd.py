"""Replaced-token detection: a small generator fills masks, a discriminator tells which tokens it put there.

Clark et al. 2020, "ELECTRA" (arXiv:2003.10555). The generator learns masked language modelling beside; the two share
their embeddings, and the discriminator is what is kept.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, PretrainedConfig

from ftcli.contract import Batch, Evaluation, Example, Outputs, Prediction, Rows
from ftcli.errors import UsageError
from ftcli.losses.supervised import binary_cross_entropy, cross_entropy
from ftcli.models.heads import head_at_places
from ftcli.models.load import Source
from ftcli.models.unpadded import known_rows
from ftcli.objectives.mlm import MaskedLanguageModelling

WEIGHT = 50.0
"""Of the discriminator's loss beside the generator's."""
NARROWER = 4
"""Times that the generator is narrower than the discriminator."""
NARROWEST = 64
"""Of a generator: one head; still narrower, it learns little beyond how frequent words are."""
MASKED = 0.85
"""Share of the chosen tokens that the generator sees masked, as in the paper's own code; the others it sees as they
are, which ties what goes in to what comes out, and without which it is slow to learn that context matters."""


class Pair(nn.Module):
    """Discriminator and generator under one roof for training; the embeddings are the same module in both."""

    def __init__(self, discriminator: Any, generator: Any) -> None:
        super().__init__()
        generator.electra.embeddings = discriminator.electra.embeddings
        generator.tie_weights()
        self.discriminator, self.generator = discriminator, generator
        self.config = discriminator.config


class ReplacedTokenDetection(MaskedLanguageModelling):
    """Tokens of one text that are not its own, told from those that are."""

    name = "rtd"
    terms = ("mlm", "rtd")
    auto_class = AutoModelForPreTraining

    # Model ----------------------------------------------------------------------------------------------------

    def _load(self, source: Source) -> tuple[nn.Module, list[str]]:
        if source.config.model_type != "electra":
            raise UsageError(
                f"{source.name} ({source.config.model_type}) is no ELECTRA, which objective {self.name} is for",
                hint="--model preset:electra-tiny, or --objective mlm",
            )
        return super()._load(source)

    def build_model(self, source: Source) -> tuple[nn.Module, list[str]]:
        """The discriminator beside a fresh generator, and the parameters that start fresh."""
        discriminator, fresh = super().build_model(source)
        generator: Any = AutoModelForMaskedLM.from_config(generator_config(source.config)).float()
        head_at_places(generator)
        pair = Pair(discriminator, generator)
        own = {id(p) for p in discriminator.parameters()}
        names = [name for name, p in pair.named_parameters() if id(p) not in own] if not source.from_scratch else []
        return pair, [*(f"discriminator.{name}" for name in fresh), *names]

    def deployed(self, model: nn.Module) -> nn.Module:
        """The discriminator: the generator has done its work once training ends."""
        return model.discriminator if isinstance(model, Pair) else model

    # Examples -> batches --------------------------------------------------------------------------------------

    def corrupt(self, example: Example, random: np.random.Generator) -> Example:
        """The example with masks at ``places``; ``draws`` decide what the generator puts there (see `sampled`)."""
        found = super().corrupt(example, random)
        ids = example["input_ids"].copy()
        masked = random.random(len(found["places"])) < MASKED
        ids[found["places"][masked]] = self.tokenizer.mask_token_id
        return {**found, "input_ids": ids, "draws": random.random(len(found["places"]))}

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = super().collate(examples)
        batch["tokens"] = batch["attention_mask"].flatten().nonzero().squeeze(1)
        batch["tokens_per_row"] = batch["attention_mask"].sum(1).tolist()
        if "labels" in batch:
            batch["draws"] = torch.from_numpy(np.concatenate([example["draws"] for example in examples]))
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        return {**super().counts(batch), "rtd": len(batch["tokens"])}

    def forward(self, model: nn.Module, batch: Batch) -> Outputs:
        """Logits by term, (masks, vocabulary) and (tokens,), and which of the tokens are ``replaced`` (tokens,)."""
        if "labels" not in batch:
            return {"rtd": self._judge(self.deployed(model), batch, batch["input_ids"])}
        if not isinstance(model, Pair):
            raise UsageError(
                f"a discriminator alone cannot be scored by objective {self.name}: its generator was for training only",
                hint="report.json in the run folder has the scores; ftcli predict RUN shows what it finds",
            )
        logits = self._run(model.generator, batch).logits[0]
        found = sampled(logits.detach(), batch["draws"])
        shape, places = batch["input_ids"].shape, batch["places"]
        ids = batch["input_ids"].flatten().index_copy(0, places, found)
        replaced = torch.zeros_like(ids).index_copy(0, places, (found != batch["labels"]).long())
        scores = self._judge(model.discriminator, batch, ids.view(shape))
        return {"mlm": logits, "rtd": scores, "replaced": replaced.index_select(0, batch["tokens"])}

    def _judge(self, discriminator: nn.Module, batch: Batch, ids: Tensor) -> Tensor:
        given = {name: batch[name] for name in ("attention_mask", "token_type_ids") if name in batch}
        with known_rows(batch["rows"]):
            logits: Tensor = discriminator(ids, **given).logits
        return logits.flatten().index_select(0, batch["tokens"])

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        rtd = binary_cross_entropy(outputs["rtd"], outputs["replaced"])
        return {"mlm": cross_entropy(outputs["mlm"], batch["labels"]), "rtd": WEIGHT * rtd}

    # Batches -> answers ---------------------------------------------------------------------------------------

    def decode(self, outputs: Outputs, batch: Batch) -> list[Prediction]:
        """Sums where there are answers (the discriminator's loss unweighted); else the tokens that look replaced."""
        per_row = batch["tokens_per_row"]
        logits = [row.float().cpu() for row in outputs["rtd"].split(per_row)]
        if "labels" not in batch:
            ids = [row.cpu() for row in batch["input_ids"].flatten().index_select(0, batch["tokens"]).split(per_row)]
            return [self._suspects(*row) for row in zip(ids, logits, strict=True)]
        found = self.sums(outputs["mlm"], batch["labels"], batch["per_row"])
        answers = [row.cpu() for row in outputs["replaced"].split(per_row)]
        for prediction, scores, replaced in zip(found, logits, answers, strict=True):
            flagged = scores > 0
            prediction["nll"]["rtd"] = float(binary_cross_entropy(scores, replaced))
            prediction["count"]["rtd"] = len(scores)
            prediction["correct"]["rtd"] = int((flagged == replaced.bool()).sum())
            prediction["flagged"] = int(flagged.sum())
            prediction["replaced"] = int(replaced.sum())
            prediction["caught"] = int((flagged & replaced.bool()).sum())
            prediction["suspicion"] = scores.numpy(), replaced.bool().numpy()
        return found

    def _suspects(self, ids: Tensor, logits: Tensor) -> Prediction:
        scores = torch.sigmoid(logits).tolist()
        words = [
            {"token": self._word(token), "score": score}
            for token, score in zip(ids, scores, strict=True)
            if not self._special[int(token)]
        ]
        return {"prediction": [word["token"] for word in words if word["score"] > 0.5], "tokens": words}

    def score(self, rows: Rows, predictions: Sequence[Prediction], *, bootstrap: int, seed: int) -> Evaluation:
        """As for masks, and how many of the replaced tokens are found, and of those found are replaced.

        ``rtd_auc`` is the chance that of a replaced token and another one the former looks more so;
        ``rtd_share_loss`` is the loss of an answer that knows how many tokens are replaced and nothing else.
        """
        found = super().score(rows, predictions, bootstrap=bootstrap, seed=seed)
        flagged, replaced, caught = (
            sum(p.get(name, 0) for p in predictions) for name in ("flagged", "replaced", "caught")
        )
        found.metrics |= {"rtd_precision": caught / max(1, flagged), "rtd_recall": caught / max(1, replaced)}
        told = [p["suspicion"] for p in predictions if "suspicion" in p]
        scores, answers = (np.concatenate(side) for side in zip(*told, strict=True)) if told else (np.empty(0),) * 2
        share = float(answers.mean()) if len(answers) else 0.0
        found.metrics |= {"rtd_auc": math.nan, "rtd_share_loss": 0.0}
        if 0 < share < 1:
            found.metrics["rtd_auc"] = float(roc_auc_score(answers, scores))
            found.metrics["rtd_share_loss"] = -share * math.log(share) - (1 - share) * math.log(1 - share)
        return found

    def prompt(self, text: str) -> str:
        """The beginning of a text with two words changed over, for a person to see whether the model minds."""
        words = super().prompt(text).split()
        if self.tokenizer.mask_token in words:
            place = words.index(self.tokenizer.mask_token)
            words[place] = words[(place + len(words) // 2) % len(words)]
        return " ".join(words)


def generator_config(config: PretrainedConfig) -> PretrainedConfig:
    """A generator as deep as the discriminator of `config` and a quarter as wide, with embeddings of the same size."""
    small = copy.deepcopy(config)
    small.hidden_size = min(config.hidden_size, max(NARROWEST, config.hidden_size // NARROWER))
    small.intermediate_size = max(1, config.intermediate_size * small.hidden_size // config.hidden_size)
    heads = max(1, config.num_attention_heads * small.hidden_size // config.hidden_size)
    small.num_attention_heads = next(n for n in range(heads, 0, -1) if small.hidden_size % n == 0)
    return small


def sampled(logits: Tensor, draws: Tensor) -> Tensor:
    """Tokens drawn from softmax(logits): (n, vocabulary) and (n,) uniform numbers from [0, 1) -> (n,) int64.

    The draw is the point where the distribution function passes `draws`, so that nothing but the number and the
    logits decides, on any device. It is looked for in blocks of tokens, then in the block: sums over all the
    vocabulary, one after the other, would be slow, and on CUDA not the same each time.
    """
    rows, vocabulary = logits.shape
    size = int(vocabulary**0.5) + 1
    weights = torch.softmax(logits.float(), -1)
    blocks = nn.functional.pad(weights, (0, -vocabulary % size)).view(rows, -1, size)
    block, rest = _passed(blocks.sum(-1, dtype=torch.float64), draws.to(torch.float64))
    token, _ = _passed(blocks[torch.arange(rows, device=logits.device), block].double(), rest)
    return torch.clamp(block * size + token, max=vocabulary - 1)


def _passed(weights: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """(n, k) and (n,) -> the place where the running sum passes the draw (n,), and what is left of the draw there."""
    k = weights.shape[-1]
    upto = weights @ torch.ones(k, k, dtype=weights.dtype, device=weights.device).triu()
    place = (upto <= draws[:, None]).sum(-1).clamp(max=k - 1)
    before = upto - weights
    return place, draws - before.gather(1, place[:, None]).squeeze(1)
