"""A Hugging Face encoder → ONNX → slim ONNX: heads and hidden units go, the task head stays.

python examples/huggingface.py [NAME] [FOLDER]

NAME is a model of the Hub or a folder (its tokenizer then makes the data from lines on standard input).
Without one, a small BERT with random weights stands in, so that every step can be tried offline.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from service import recipes
from sosp_core import compress
from sosp_core.convert.shim import import_torchvision

LENGTH = 32
INPUTS = ("input_ids", "attention_mask")


def main(name: str, place: Path) -> None:
    """Export, make calibration data, compress."""
    place.mkdir(parents=True, exist_ok=True)
    network = load(name)
    ids, mask = tokens(name) if name else random_tokens(network.config.vocab_size)
    model, data = export(network, ids, mask, place / "encoder.onnx"), place / "data.npz"
    np.savez(data, input_ids=ids.numpy(), attention_mask=mask.numpy())  # no labels: the original teaches
    told = {"base": "transformer", "prune": {"samples": 64, "rounds": 2}, "finetune": {"epochs": 2}}
    recipe = recipes.build(told if not name else {"base": "transformer"})
    outcome = compress(model, data, recipe, out_dir=place / "out")
    for row in outcome.report.rows():
        sys.stdout.write("  ".join(row) + "\n")
    sys.stdout.write(f"{outcome.model}\n")


def load(name: str) -> nn.Module:
    """A trained classifier, or a small one that knows nothing."""
    import_torchvision()  # transformers imports it, and beside a torch for CPUs its usual build fails
    from transformers import AutoModelForSequenceClassification, BertConfig

    if name:
        return AutoModelForSequenceClassification.from_pretrained(name).eval()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LENGTH,
        num_labels=3,
    )
    return AutoModelForSequenceClassification.from_config(config).eval()


def tokens(name: str) -> tuple[Tensor, Tensor]:
    """The lines of standard input, as the model reads them; some hundreds are enough."""
    from transformers import AutoTokenizer

    lines = [line.strip() for line in sys.stdin if line.strip()]
    made = AutoTokenizer.from_pretrained(name)(
        lines, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
    )
    return made["input_ids"], made["attention_mask"]


def random_tokens(vocabulary: int) -> tuple[Tensor, Tensor]:
    """Sequences of many lengths, padded."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocabulary, (192, LENGTH), generator=generator)
    lengths = torch.randint(8, LENGTH + 1, (192, 1), generator=generator)
    mask = (torch.arange(LENGTH) < lengths).long()
    return ids * mask, mask


class Scores(nn.Module):
    """The network as a function from tensors to tensors, which is what a file of ONNX is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Scores of the classes, ``[N, classes]``."""
        scores: Tensor = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        return scores


def export(network: nn.Module, ids: Tensor, mask: Tensor, path: Path) -> Path:
    """With a dynamic batch axis, and sequences of one length."""
    batch = torch.export.Dim("N")
    torch.onnx.export(
        Scores(network).eval(),
        (ids[:2], mask[:2]),
        path,
        input_names=list(INPUTS),
        output_names=["scores"],
        dynamic_shapes={name: {0: batch} for name in INPUTS},
        external_data=False,
        verbose=False,
    )
    return path


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", Path(sys.argv[2] if len(sys.argv) > 2 else "demo-out"))
