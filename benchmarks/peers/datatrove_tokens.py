"""datatrove: ParquetReader → DocumentTokenizer under the local executor, one task a worker.

Documents are not shuffled (the default would read and write all tokens a second time), metadata columns not read.
"""

import os
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer
from interface import EOD, arguments


def main() -> None:
    given = arguments()
    directory = Path(os.path.commonpath([str(Path(path).parent) for path in given.inputs]))
    LocalPipelineExecutor(
        pipeline=[
            ParquetReader(str(directory), glob_pattern="*.parquet", read_metadata=False),
            DocumentTokenizer(
                str(given.output / "tokens"),
                tokenizer_name_or_path=given.tokenizer,
                eos_token=EOD,
                shuffle_documents=False,
            ),
        ],
        tasks=given.workers,
        workers=given.workers,
        logging_dir=str(given.output / "logs"),
    ).run()


if __name__ == "__main__":
    main()
