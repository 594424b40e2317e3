"""Shards that are local to a host: how many samples each host may take so that all have the same number of steps."""

import hashlib
from dataclasses import dataclass

from shard.loader.dataset import TokenDataset
from shard.records.frozen import canonical_json
from shard.records.manifest import MANIFEST_FILE, HostShare, Manifest, equal_samples, read_manifest


@dataclass(frozen=True, kw_only=True)
class LocalShare:
    """This host's part of a dataset that lies on several hosts."""

    samples: int
    """Of an epoch: what the poorest host has a rank, times this host's ranks."""
    identity: str
    """The same on every host: of the whole dataset, and of who holds what."""


def local_share(dataset: TokenDataset) -> LocalShare | None:
    """What cluster.json beside the shards says; None where the directory holds all there is, or there is no manifest.

    It counts where the directory is train, has exactly the units of one host (or of hosts that share their disk) of
    several, and all of its documents are taken, concatenated: of other packings only the host itself knows how many
    samples they give. Raises JobError for a manifest that cannot be read.
    """
    if dataset.record.split != "train" or dataset.documents != int(dataset.reader.document_starts[-1]):
        return None
    if not (dataset.path / MANIFEST_FILE).exists():
        return None
    manifest = read_manifest(dataset.path)
    share = _share_of(dataset, manifest)
    if share is None or manifest.fingerprint != dataset.record.fingerprint:
        return None
    ranks = sum(host.ranks for host in share)
    spelled = canonical_json([manifest.fingerprint, [_facts(host) for host in manifest.hosts]])
    return LocalShare(
        samples=equal_samples(manifest, dataset.context_length) * ranks,
        identity=hashlib.sha256(spelled).hexdigest(),
    )


def _share_of(dataset: TokenDataset, manifest: Manifest) -> list[HostShare] | None:
    """The hosts of the store whose units these are; None where it is the only store with data."""
    units = [shard.record.unit for shard in dataset.reader.shards]
    stores: dict[str, list[HostShare]] = {}
    for host in manifest.hosts:
        stores.setdefault(host.store, []).append(host)
    if sum(any(host.tokens for host in hosts) for hosts in stores.values()) < 2:
        return None
    for hosts in stores.values():
        held = sorted(unit for host in hosts for start, end in host.units for unit in range(start, end))
        if held == units:
            return hosts
    return None


def _facts(host: HostShare) -> list[object]:
    return [host.name, host.ranks, host.store, host.units, host.tokens]
