"""Several datasets in one run: listed one by one, their files below their names."""

from collections.abc import Callable
from dataclasses import replace

from msgspec.structs import replace as with_fields

from provision.catalog.types import Catalog, DatasetSpec, SourceFile
from shard.records.inputs import Input
from shard.records.job import Dataset


def named_catalog(spec: DatasetSpec, list_one: Callable[[DatasetSpec], Catalog]) -> Catalog:
    """All of them, in the order given. Raises CatalogError."""
    listed = [(name, list_one(replace(spec, name=own, named=()))) for name, own in spec.named]
    form = _common([catalog.dataset.input for _, catalog in listed])
    hub = [single for _, catalog in listed for single in catalog.dataset.on_hub]
    dataset = Dataset(
        kind="named",
        name=spec.name,
        root="",
        revision=" ".join(f"{name}={catalog.dataset.revision}" for name, catalog in listed),
        text_column=spec.text_column,
        endpoint=hub[0].endpoint if hub else None,
        input=form,
        named=tuple((name, with_fields(catalog.dataset, input=form)) for name, catalog in listed),
    )
    return Catalog(
        dataset,
        tuple(
            SourceFile(path=f"{name}/{file.path}", size=file.size, content_id=file.content_id)
            for name, catalog in listed
            for file in catalog.files
        ),
        tuple(f"{name}: {note}" for name, catalog in listed for note in catalog.notes),
        {f"{name}/{path}": place for name, catalog in listed for path, place in catalog.locations.items()},
    )


def _common(forms: list[Input]) -> Input:
    """What some of them need; the others are read alike with it."""
    return Input(
        format=next((form.format for form in forms if form.format is not None), None),
        document_per_line=any(form.document_per_line for form in forms),
        drop_empty_lines=any(form.drop_empty_lines for form in forms),
    )
