"""datasketch: signatures of documents, and the pairs that its LSH finds; run by benchmarks/dedup.py.

python datasketch_minhash.py DOCUMENTS.json NUM_PERM BANDS ROWS NGRAM

Prints one JSON object: seconds of processor time for the signatures, and pairs of positions.
"""

import json
import re
import sys
import time
from pathlib import Path

from datasketch import MinHash, MinHashLSH

_SPACES = re.compile("[\x00-\x20]+")


def main() -> None:
    num_perm, bands, rows, ngram = map(int, sys.argv[2:])
    documents = json.loads(Path(sys.argv[1]).read_text())
    began = time.process_time()
    signatures = list(MinHash.bulk((_grams(text, ngram) for text in documents), num_perm=num_perm, seed=42))
    seconds = time.process_time() - began
    lsh = MinHashLSH(num_perm=num_perm, params=(bands, rows))
    pairs = []
    for number, signature in enumerate(signatures):
        pairs += [(other, number) for other in lsh.query(signature)]
        lsh.insert(number, signature)
    print(json.dumps({"seconds": seconds, "pairs": pairs}))


def _grams(text: str, ngram: int) -> list[bytes]:
    words = [word for word in _SPACES.split(text.lower()) if word]
    return [" ".join(words[start : start + ngram]).encode() for start in range(len(words) - ngram + 1)]


if __name__ == "__main__":
    main()
