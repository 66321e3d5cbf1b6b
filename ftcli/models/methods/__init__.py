"""Ways to adapt a pretrained model to a task: one file and one line here per method."""

from ftcli.registry import Table

METHODS = Table(
    "method",
    {
        "adalora": "ftcli.models.methods.adalora:AdaLoRA",
        "adapter": "ftcli.models.methods.adapter:Adapter",
        "bitfit": "ftcli.models.methods.bitfit:BitFit",
        "full": "ftcli.models.methods.base:Method",
        "head": "ftcli.models.methods.head:Head",
        "head-then-full": "ftcli.models.methods.head:HeadThenFull",
        "ia3": "ftcli.models.methods.ia3:IA3",
        "ln": "ftcli.models.methods.layer_norm:LayerNorms",
        "lora": "ftcli.models.methods.lora:LoRA",
        "oft": "ftcli.models.methods.oft:OFT",
        "p-tuning": "ftcli.models.methods.p_tuning:PTuning",
        "prefix": "ftcli.models.methods.prefix:Prefix",
        "prompt": "ftcli.models.methods.prompt:Prompt",
        "vera": "ftcli.models.methods.vera:VeRA",
    },
)
