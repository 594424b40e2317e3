"""tokenizer train: a tokenizer of one's own."""

from pathlib import Path

import click

from provision.catalog.types import DatasetSpec
from provision.cli.dataset import takes_dataset
from provision.cli.values import Count
from provision.plan.units import units_of
from provision.prepare.prepare import list_dataset
from provision.tokenizer.resolve import fetch_tokenizer_json
from shard.training.recipe import USUAL, Kind, Recipe, after
from shard.training.run import Order, Trained, train_tokenizer

_PART_BYTES = 16 << 20
"""Of a file that is drawn from at once."""


@click.group()
def tokenizer() -> None:
    """Tokenizers of one's own."""


@tokenizer.command()
@takes_dataset
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Directory to make; --tokenizer DIR takes it.",
)
@click.option(
    "--kind",
    type=click.Choice(["bpe", "sentencepiece"]),
    help="Byte-level BPE, or BPE of characters with byte fallback, as SentencePiece has it.  "
    "[default: that of the reference, else bpe]",
)
@click.option(
    "--reference",
    metavar="NAME",
    help="Train after this tokenizer: with its normaliser, pre-tokenizer, post-processor and decoder. owner/name on "
    "the Hub, a directory, or a tokenizer.json.  [default: GPT-2's configuration for bpe, Llama 2's for sentencepiece]",
)
@click.option(
    "--vocab-size",
    type=click.IntRange(min=1),
    default=32_000,
    show_default=True,
    metavar="N",
    help="Tokens in all, special ones included.",
)
@click.option(
    "--num-samples",
    type=Count(),
    default=2_000_000,
    show_default=True,
    metavar="N",
    help="Documents to train on, such as 2M; memory does not grow with them.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=42,
    show_default=True,
    metavar="N",
    help="Another seed draws other documents.",
)
@click.option(
    "--special",
    "specials",
    multiple=True,
    metavar="TOKEN",
    help="A special token beside <unk> <s> </s> <pad>, with the next id from 4 on. May be given several times.",
)
@click.option("--model", "with_model", is_flag=True, help="Write a SentencePiece tokenizer.model of the same ids, too.")
def train(
    spec: DatasetSpec,
    target: Path,
    kind: Kind | None,
    reference: str | None,
    vocab_size: int,
    num_samples: int,
    seed: int,
    specials: tuple[str, ...],
    with_model: bool,
) -> None:
    """Train a tokenizer on documents drawn from a dataset.

    Everything is trained twice and checked before DIR appears: the two are equal, held-out documents come back from
    their tokens, none has an <unk>, and other readers of DIR give the same ids.
    """
    if reference is None:
        chosen: Kind = kind or "bpe"
        configuration = USUAL[chosen]
    else:
        chosen, configuration = after(fetch_tokenizer_json(reference), kind, origin=reference)
    recipe = Recipe(chosen, configuration, vocab_size, specials)
    catalog = list_dataset(spec)
    for note in catalog.notes:
        click.echo(note, err=True)
    dataset = catalog.dataset
    order = Order(
        dataset=dataset,
        units=units_of(catalog.files, _PART_BYTES, dataset.input, named=bool(dataset.named)),
        recipe=recipe,
        num_samples=num_samples,
        seed=seed,
        target=target.expanduser(),
        with_model=with_model,
    )
    _say_trained(order, train_tokenizer(order, dict(catalog.locations), lambda text: click.echo(text, err=True)))


def _say_trained(order: Order, trained: Trained) -> None:
    checked, recipe = trained.checked, order.recipe
    click.echo(
        f"{order.target}: {recipe.kind} of {recipe.vocab_size:,} tokens, trained on {trained.documents:,} documents "
        f"({trained.text_bytes / 1e6:,.1f} MB) in {trained.seconds:,.0f} s"
    )
    click.echo(
        f"{checked.documents} of {checked.documents} held-out documents come back from their tokens, "
        f"{checked.exactly} of them to the last character; no {recipe.specials[0]}"
    )
    click.echo(f"trained twice with equal bytes; {checked.compared_with} gives the same ids")
    if order.with_model:
        click.echo("tokenizer.model gives the same ids")
    if trained.documents < order.num_samples:
        click.echo(f"the dataset has no more than these documents: {order.num_samples:,} were asked for", err=True)
    if checked.slow_because is not None:
        click.echo(f"a run will take the slow engine: {checked.slow_because}", err=True)
