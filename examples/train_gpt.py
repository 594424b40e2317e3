"""Train a small GPT from a directory of shards, on any number of processes, and go on after any of them is gone.

    torchrun --nproc-per-node 2 examples/train_gpt.py demo/dataset_shard --checkpoint demo/gpt.pt --log demo/loss.jsonl

Run it again with the same --checkpoint, on one process or on four, and it goes on where the checkpoint is: the same
global batches, so the same loss curve, but for the order in which floats are added.
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shard.loader import BatchOptions, DataLoader, TokenDataset
from shard.loader.torch import TorchLoader

_IGNORED = -100
"""The label of what is not learned: labels that would cross into another document."""


@dataclass(frozen=True)
class Shape:
    """Of the model."""

    vocabulary: int
    context_length: int
    width: int = 64
    heads: int = 4
    layers: int = 2


class Block(nn.Module):
    """Attention within documents, then a perceptron."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.query_key_value = nn.Linear(shape.width, 3 * shape.width)
        self.project = nn.Linear(shape.width, shape.width)
        self.perceptron = nn.Sequential(
            nn.Linear(shape.width, 4 * shape.width), nn.GELU(), nn.Linear(4 * shape.width, shape.width)
        )

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        rows, length, width = x.shape
        # 3 of [rows, heads, length, width / heads]
        parts = self.query_key_value(self.attention_norm(x)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        x = x + self.project(attended.transpose(1, 2).reshape(rows, length, width))
        return x + self.perceptron(self.perceptron_norm(x))


class GPT(nn.Module):
    """Returns the sum of the losses of all labels that count."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Embedding(shape.context_length, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        # [rows, 1, length, length]: a token sees those before it, of its own document
        documents = batch["document_ids"]
        visible = (documents[:, :, None] == documents[:, None, :]).tril()[:, None]
        x = self.tokens(batch["input_ids"]) + self.positions(batch["position_ids"])
        for block in self.blocks:
            x = block(x, visible)
        logits = self.head(self.norm(x)).flatten(0, 1)
        return F.cross_entropy(logits, batch["labels"].flatten(), ignore_index=_IGNORED, reduction="sum")


FIELDS = ("input_ids", "labels", "position_ids", "document_ids", "loss_mask")


def train(given: argparse.Namespace) -> None:
    """One process of them; torchrun says which."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    dataset = TokenDataset(
        given.shards, given.context_length, options=BatchOptions(dtype="int64", mask_boundaries=True)
    )
    loader = TorchLoader(
        DataLoader(dataset, given.global_batch_size, dp_rank=rank, dp_world_size=world_size, seed=given.seed),
        fields=FIELDS,
        num_workers=given.workers,
    )
    torch.manual_seed(given.seed)
    bare = GPT(Shape(dataset.vocab_size, given.context_length))
    optimizer = torch.optim.AdamW(bare.parameters(), lr=given.lr)
    step = 0
    if given.checkpoint.exists():
        # The same file on every rank: the loader's state knows nothing of ranks.
        saved = torch.load(given.checkpoint, weights_only=True)
        bare.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        step = saved["step"]
    model = DistributedDataParallel(bare)
    while step < given.steps:
        for batch in loader:
            loss = update(model, optimizer, batch, world_size)
            step += 1
            if rank == 0:
                report(given.log, step, loss, world_size)
                if step % given.checkpoint_every == 0 or step == given.steps:
                    state = {"model": bare.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                    save(given.checkpoint, state | {"loader": loader.state_dict()})
            if step == given.steps:
                break


def update(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], world_size: int) -> float:
    """A step of all ranks. Returns the mean loss over the labels of the global batch."""
    labels = batch["loss_mask"].sum()
    dist.all_reduce(labels)
    loss = model(batch) / labels
    optimizer.zero_grad()
    # The gradients of ranks are averaged; their sum is what one process would have.
    (loss * world_size).backward()
    optimizer.step()
    total = loss.detach()
    dist.all_reduce(total)
    return float(total)


def report(log: Path, step: int, loss: float, world_size: int) -> None:
    """A line of JSON."""
    print(f"step {step:5d}  loss {loss:.4f}", flush=True)
    with log.open("a") as file:
        file.write(json.dumps({"step": step, "loss": loss, "world_size": world_size}) + "\n")


def save(path: Path, state: dict[str, Any]) -> None:
    """The whole checkpoint or the one before it, whenever the process dies."""
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, help="a directory of train shards")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.pt"))
    parser.add_argument("--checkpoint-every", type=int, default=10, metavar="STEPS")
    parser.add_argument("--log", type=Path, default=Path("loss.jsonl"), help="a line of JSON for every step")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--global-batch-size", type=int, default=16, help="samples of a step, over all processes")
    parser.add_argument("--context-length", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that read, for each rank")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the processes of this example share a machine
    dist.init_process_group("gloo")
    try:
        train(given)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
