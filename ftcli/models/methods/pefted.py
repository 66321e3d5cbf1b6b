"""Methods of the peft library: each file beside this one gives a configuration, and what is special about it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from ftcli.errors import UsageError
from ftcli.models.methods.based import Based
from ftcli.models.methods.targets import ROLES, chosen, is_projection

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TASKS = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}
"""How the names of transformers' model classes end -> what peft calls the task."""


def task_type(model: nn.Module) -> str | None:
    """What peft calls the task of `model`; None for one it has no name for."""
    return next((task for ending, task in _TASKS.items() if type(model).__name__.endswith(ending)), None)


class Pefted(Based):
    """A method of peft that puts modules of its own in the place of the model's."""

    mergeable = True
    usual_targets: Collection[str] = ROLES

    def targets(self, model: nn.Module) -> list[str]:
        """Full names of the modules to adapt; UsageError where there are none."""
        found = [name for name in chosen(model, self.recipe.targets, self.usual_targets)
                 if not any(name == head or name.startswith(f"{head}.") for head in self.heads)]  # fmt: skip
        if not found:
            raise UsageError(
                f"method {self.recipe.name} finds nothing to adapt in {type(model).__name__}",
                hint="--set method.targets=all",
            )
        return found

    def config(self, model: nn.Module) -> Any:
        """Peft's configuration of the method for `model`."""
        raise NotImplementedError

    def extend(self, model: nn.Module) -> nn.Module:
        from peft import get_peft_model

        self.peft: Any = get_peft_model(model, self.config(model))
        return self.inner(self.peft)

    def inner(self, peft: Any) -> nn.Module:
        """What is trained: the model itself, which holds peft's modules now. Its names and calls stay the same."""
        found: nn.Module = peft.get_base_model()
        return found

    def merged(self, model: nn.Module) -> nn.Module:
        return merge(self.peft)

    def write(self, model: Any, folder: Path) -> None:
        """As `peft.PeftModel.from_pretrained` reads it."""
        from peft import get_peft_model_state_dict

        config = self.peft.peft_config["default"]
        tensors = get_peft_model_state_dict(self.peft, save_embedding_layers=False)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        config.inference_mode = True
        config.save_pretrained(str(folder))
        config.inference_mode = False


def common(method: Pefted, model: nn.Module) -> dict[str, Any]:
    """What configurations of most methods share."""
    return {"task_type": task_type(model), "target_modules": method.targets(model), "modules_to_save": method.heads}


def attach(model: nn.Module, folder: Path) -> Any:
    """The PeftModel of a base model and what a run saved in `folder`; nothing of it is to be trained."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder), is_trainable=False)


def merge(peft: Any) -> nn.Module:
    """The model under a PeftModel with what was learnt in its weights, in place.

    peft's own way fails for heads of several modules in methods other than LoRA.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    whole: nn.Module = peft.get_base_model()
    for name, module in list(whole.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            found: Any = module.get_base_layer()
        elif isinstance(module, ModulesToSaveWrapper):
            found = module.modules_to_save[module.active_adapters[0]]
        else:
            continue
        owner, _, own = name.rpartition(".")
        setattr(whole.get_submodule(owner), own, found)
    for rest in ("peft_config", "rank_importance"):
        if hasattr(whole, rest):
            delattr(whole, rest)
    return whole


def is_prompt(peft: Any) -> bool:
    """True where the method works on what goes into the model, and cannot do without peft's own forward pass."""
    return bool(peft.active_peft_config.is_prompt_learning)


def smallest_input(model: nn.Module, names: Collection[str]) -> int:
    """The fewest numbers that one of the modules takes."""
    sizes = [module.weight.shape[0] if type(module).__name__ == "Conv1D" else module.weight.shape[1]
             for name, module in model.named_modules() if name in names and is_projection(module)]  # fmt: skip
    return int(min(int(size) for size in sizes))


def read_config(folder: Path) -> dict[str, Any]:
    """Peft's configuration as it was written."""
    found: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return found
