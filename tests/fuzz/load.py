"""Fuzzes `fastbp.load`: errors only, no crash, and no memory that a file has no bytes for.

``python tests/fuzz/load.py --count N [--seed S]`` loads N faulty files made of those in
tests/files. Where atheris is installed, ``--atheris [libFuzzer's options]`` lets libFuzzer choose
the faults, guided by the lines of `fastbp` that they reach. A file that does what it should not is
kept, and named.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def limit_memory(gigabytes):
    """Let an allocation of gigabytes be an error, not a wait."""
    limit = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


# Python's values take up to ninety times the memory of their text, and a file may ask for some
# without having bytes for it.
_PER_BYTE, _FREE = 100, 128 * 2**20


class Growth:
    """Whether the process has grown by more than a file may ask for."""

    def __init__(self, n_bytes):
        self._most, self._before = _FREE + _PER_BYTE * n_bytes, _peak()

    def check(self):
        grown = _peak() - self._before
        if grown > self._most:
            raise AssertionError(f"load took {grown:,} bytes, of {self._most:,} at most")


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def by_mutations(count, seed):
    """Load so many faulty files; the number of those that did what they should not."""
    import file_mutations

    path = Path(tempfile.mkdtemp(dir=_fast_folder())) / "f.fastbp"
    began, loaded, found = time.perf_counter(), 0, 0
    for number, data in zip(range(count), file_mutations.inputs(seed), strict=False):
        path.write_bytes(data)
        try:
            loaded += file_mutations.attempt(path, Growth(len(data)).check) is not None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            found += 1
            kept = Path(f"fuzz-{seed}-{number}.fastbp")
            kept.write_bytes(data)
            print(f"{kept}: {type(error).__name__}: {error}")
            if found <= 5:
                traceback.print_exc()
        if (number + 1) % 10_000 == 0:
            rate = (number + 1) / (time.perf_counter() - began)
            print(
                f"{number + 1:,} files, {loaded:,} loaded, {found} found, {rate:.0f}/s", flush=True
            )
    path.unlink()
    path.parent.rmdir()
    print(f"{count:,} files, {loaded:,} loaded, {found} found, peak {_peak() / 2**20:.0f} MB")
    return found


def _fast_folder():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def by_atheris(arguments):
    """Let libFuzzer choose the faults, by the lines that they reach."""
    import atheris

    with atheris.instrument_imports(include=["fastbp._files", "fastbp.io"]):
        import file_mutations

        import fastbp.io  # noqa: F401

    class Choices:
        """Stands for `random.Random`: libFuzzer's bytes are the choices."""

        def __init__(self, data):
            self._data = atheris.FuzzedDataProvider(data)

        def random(self):
            return self._data.ConsumeProbability()

        def randrange(self, end):
            return self._data.ConsumeIntInRange(0, end - 1)

        def choice(self, values):
            return values[self.randrange(len(values))]

    path = Path(tempfile.mkdtemp(dir=_fast_folder())) / "f.fastbp"
    files = list(file_mutations.fixtures().values())

    def one_input(data):
        choices = Choices(data)
        data = file_mutations.mutated(choices.choice(files), choices)
        path.write_bytes(data)
        file_mutations.attempt(path, Growth(len(data)).check)

    atheris.Setup([sys.argv[0], *arguments], one_input)
    atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=float, default=4.0, metavar="GB", help="address space")
    parser.add_argument("--atheris", action="store_true")
    options, others = parser.parse_known_args()
    if options.atheris:
        by_atheris(others)
        return 0
    limit_memory(options.memory)
    return int(by_mutations(options.count, options.seed) > 0)


if __name__ == "__main__":
    sys.exit(main())
