"""How large the datasets of the scaling model are, and where each number comes from."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """A dataset on the Hub."""

    name: str
    tokens: float
    """Of a vocabulary of about 50,000, as its card counts them: without end-of-document tokens."""
    documents: float
    text_bytes: float
    """UTF-8 of the text column."""
    column_bytes: float
    """The text column as it is compressed in Parquet: what is fetched."""
    parquet_bytes: float
    """All columns: what a downloader of whole files fetches."""
    files: int
    sources: tuple[str, ...]
    """Where the numbers come from; what is estimated says so."""


_FILE_BYTES = 2.15e9
"""Of most FineWeb files (sample/10BT: fifteen files of 2.15 GB); fineweb-edu's have 2.1 to 2.4."""


def _fineweb_edu(name: str, tokens: float, token_source: str) -> Dataset:
    # codelion/fineweb-edu-1B: 1e9 tokens drawn from all of fineweb-edu, text column only.
    scale = tokens / 1e9
    column = 2.752e9 * scale
    documents = 970_397 * scale
    parquet = column + 190 * documents
    return Dataset(
        name=name,
        tokens=tokens,
        documents=documents,
        text_bytes=4.626e9 * scale,
        column_bytes=column,
        parquet_bytes=parquet,
        files=round(parquet / _FILE_BYTES),
        sources=(
            token_source,
            "text, column and documents per token: card of codelion/fineweb-edu-1B, a random sample of 1e9 tokens with "
            "the text column alone: 970,397 documents, 4.626 GB of text, 2.752 GB of Parquet",
            "other columns: estimated at 190 bytes a document (FineWeb's 44 TB less its text column come to 130; "
            "FineWeb-Edu has two scores more)",
            "files: estimated at 2.15 GB each",
        ),
    )


def _fineweb() -> Dataset:
    # OxxoCodes/fineweb-10MT: 14,874 documents of the 10 BT sample, about 1e7 tokens, all columns 51.07 MB; the others
    # than text hold about 330 bytes a document uncompressed.
    documents = 15e12 / (1e7 / 14_874)
    text = 15e12 / 1e7 * (51.07e6 - 330 * 14_874)
    return Dataset(
        name="fineweb",
        tokens=15e12,
        documents=documents,
        text_bytes=text,
        column_bytes=text / (4.626 / 2.752),
        parquet_bytes=44e12,
        files=round(44e12 / _FILE_BYTES),
        sources=(
            "15 T tokens and 44 TB of Parquet: card and blog post of HuggingFaceFW/fineweb",
            "documents and text per token: card of OxxoCodes/fineweb-10MT, every thousandth document of sample-10BT "
            "(14,874 documents, about 1e7 tokens, 51.07 MB), less an estimated 330 bytes a document for other columns",
            "text column: estimated at FineWeb-Edu's 1.68 bytes of text a byte of Parquet",
            "files: estimated at 2.15 GB each, the size of those of sample/10BT",
        ),
    )


def _dclm() -> Dataset:
    scale = 4e12 / 1e9
    return Dataset(
        name="dclm-baseline",
        tokens=4e12,
        documents=774_229 * scale,
        text_bytes=4.311e9 * scale,
        column_bytes=2.642e9 * scale,
        parquet_bytes=(2.642e9 + 774_229 * 300) * scale,
        files=28_000,
        sources=(
            "4 T tokens, 3 B documents: card of mlfoundations/dclm-baseline-1.0-parquet (its tokens are of another "
            "vocabulary of 50,000)",
            "text, column and documents per token: card of codelion/dclm-baseline-1B, a random sample of 1e9 tokens "
            "with the text column alone: 774,229 documents, 4.311 GB of text, 2.642 GB of Parquet",
            "other columns (estimated at 300 bytes a document) and 28,000 files: estimates",
        ),
    )


DATASETS: Mapping[str, Dataset] = {
    one.name: one
    for one in (
        _fineweb_edu("fineweb-edu", 1.3e12, "1.3 T tokens: card of HuggingFaceFW/fineweb-edu"),
        _fineweb(),
        _dclm(),
        _fineweb_edu("fineweb-edu-1.5T", 1.5e12, "1.5 T tokens: catid's name for it, with the dumps added later"),
    )
}
