"""Learnt embeddings before a text."""

from __future__ import annotations

from typing import Any

from torch import nn

from ftcli.models.methods.pefted import task_type
from ftcli.models.methods.prompted import Prompted


class Prompt(Prompted):
    """Embeddings of virtual tokens. Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning"
    (arXiv:2104.08691). A head that looks at the first place looks at the first virtual token."""

    def config(self, model: nn.Module) -> Any:
        from peft import PromptTuningConfig

        return PromptTuningConfig(task_type=task_type(model), num_virtual_tokens=self.recipe.virtual_tokens)
