"""The minimum of a key in each run of a project, read by the workers of Beam.

python examples/parts_in_beam.py entity/project train/loss
"""

import sys
from collections.abc import Iterator

import apache_beam as beam  # pyright: ignore[reportMissingImports]

from aiowandb import Api, ReadPart


def read(part: ReadPart, key: str) -> Iterator[tuple[str, float]]:
    for batch in part.read(["run_id", key]):
        for run, value in zip(*map(list, batch.to_pydict().values()), strict=True):
            if value is not None:
                yield run, value


if __name__ == "__main__":
    project, key, *options = sys.argv[1:]
    with Api() as api:
        parts = api.runs(project).plan(keys=[key]).parts(16)
    with beam.Pipeline(argv=options) as pipeline:
        rows = pipeline | beam.Create(parts) | beam.Reshuffle() | beam.FlatMap(read, key)
        least = rows | beam.CombinePerKey(min)
        least |= beam.Map(print)
