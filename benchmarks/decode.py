"""The floor: pyarrow decodes the text column of Parquet files, one row group at a time, and drops it.

python -m benchmarks.decode FILE…
"""

import sys

import pyarrow as pa
import pyarrow.parquet as pq


def main() -> None:
    pa.set_cpu_count(1)
    for path in sys.argv[1:]:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            file.read_row_group(group, columns=["text"], use_threads=False)


if __name__ == "__main__":
    main()
