"""SentencePiece `.model`: the `sentencepiece` library as reference."""

from collections.abc import Sequence

import sentencepiece

from shard.errors import TokenizerError

_SPACE = "\u2581"


class SentencePieceReference:
    """`sentencepiece.SentencePieceProcessor`, which never takes the text of a control symbol for the symbol."""

    def __init__(self, data: bytes, *, origin: str) -> None:
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.load_from_serialized_proto(data)
        except RuntimeError as error:
            raise TokenizerError(
                f"{origin}: not a model that sentencepiece {sentencepiece.__version__} reads: {error}"
            ) from error
        self.name = f"sentencepiece {sentencepiece.__version__}"

    @property
    def vocab_size(self) -> int:
        size: int = self._processor.get_piece_size()
        return size

    def token_id(self, token: str) -> int | None:
        """Id of a piece; None when there is none of that name."""
        found: int = self._processor.piece_to_id(token)
        return found if self._processor.id_to_piece(found) == token else None

    def eod_id(self) -> int | None:
        """The model's own end of sequence."""
        return _given(self._processor.eos_id())

    def bos_id(self) -> int | None:
        """The model's own beginning of sequence."""
        return _given(self._processor.bos_id())

    def encode(self, document: bytes) -> list[int]:
        ids: list[int] = self._processor.encode(document.decode("utf-8"))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._processor.decode(list(ids))
        return text

    def token_bytes(self) -> dict[int, bytes]:
        return {token: self._bytes_of(token) for token in range(self.vocab_size)}

    def _bytes_of(self, token: int) -> bytes:
        piece: str = self._processor.id_to_piece(token)
        if self._processor.is_byte(token):
            return bytes((int(piece[1:-1], 16),))  # <0x0A>
        if self._processor.is_control(token) or self._processor.is_unknown(token):
            return b""
        return piece.replace(_SPACE, " ").encode()


def _given(found: int) -> int | None:
    return found if found >= 0 else None
