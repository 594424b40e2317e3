"""A SentencePiece `.model` of the pieces of a tokenizer.json, where SentencePiece can say what that says."""

from shard.errors import TokenizerError
from shard.training.recipe import BOS, BYTES, EOS, PAD, USUAL, Recipe

try:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto
except ImportError:  # of google.protobuf
    _has_protobuf = False
else:
    _has_protobuf = True


def require_expressible(recipe: Recipe) -> None:
    """Raise TokenizerError where no `.model` gives the ids of such a tokenizer."""
    if recipe.kind == "bpe":
        raise TokenizerError("--model: SentencePiece has no byte-level BPE; leave it out, or --kind sentencepiece")
    usual, given = USUAL["sentencepiece"], recipe.configuration
    if (given.normalizer, given.pre_tokenizer) != (usual.normalizer, usual.pre_tokenizer):
        raise TokenizerError(
            "--model: only a normaliser that sets ▁ before a text and for its spaces, and no pre-tokenizer, can be "
            "written exactly as a .model; the reference has others. Leave out --model, or the reference"
        )
    if not _has_protobuf:
        raise TokenizerError("--model: protobuf is missing: pip install 'shardfleet[sentencepiece]'")


def as_model(vocab: dict[str, int], recipe: Recipe) -> bytes:
    """The `.model`: every piece with its id, and scores that have it made as the merges do, the lower id first."""
    kinds = ModelProto.SentencePiece.Type
    special = dict.fromkeys(recipe.specials, kinds.CONTROL) | {recipe.specials[0]: kinds.UNKNOWN}
    kind_of = special | dict.fromkeys(BYTES, kinds.BYTE)
    model = ModelProto()
    for piece, number in sorted(vocab.items(), key=lambda item: item[1]):
        model.pieces.add(piece=piece, score=-float(number), type=kind_of.get(piece, kinds.NORMAL))
    trainer = model.trainer_spec
    trainer.model_type = trainer.ModelType.BPE
    trainer.vocab_size = len(vocab)
    trainer.byte_fallback = True
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = range(4)
    trainer.unk_piece, trainer.bos_piece, trainer.eos_piece, trainer.pad_piece = recipe.specials[0], BOS, EOS, PAD
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = normalizer.escape_whitespaces = True
    normalizer.remove_extra_whitespaces = False
    data: bytes = model.SerializeToString(deterministic=True)
    return data
