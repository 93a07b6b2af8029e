"""Measures how fast the server is, beside two that store nothing.

    python -m tests.bench [--quick | --full] [--only tasks,paced] [--rounds N] [--json FILE]

All servers are up together on one processor, the load is on another one. A round measures each of
them once, in turn; a ratio is the median of the ratios of each round, since what else the machine
does changes absolute figures by a factor. Nothing is judged by the exit status.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import uvloop

from tests.bench import peer
from tests.bench.cpus import CLIENT_CPU, SERVER_CPU, pinned, raise_open_files
from tests.bench.peer import Peer
from tests.bench.rows import ROWS, Row, Sample, Sizes
from tests.bench.table import Rounds, print_table

QUICK = Sizes(seconds=0.5, readers=200, idle_readers=300, idle_tasks=200)
USUAL = Sizes(seconds=1.5, readers=1000, idle_readers=1000, idle_tasks=500)
FULL = Sizes(seconds=2.0, readers=1000, idle_readers=10_000, idle_tasks=2000)
SPARE_FILES = 200  # beside connections


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    sizes: Sizes = options.sizes
    if raise_open_files() < max(sizes.idle_readers, sizes.readers) + SPARE_FILES:
        sys.exit("More open files are needed for that many readers: raise `ulimit -n`.")
    rows = [row for row in ROWS if row.name in options.only]
    together = [row for row in rows if not row.fresh]
    batches = [[row] for row in rows if row.fresh] + ([together] if together else [])
    measured: list[tuple[Row, Rounds]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, pinned(CLIENT_CPU):
        for batch in batches:
            measured += _measure(batch, Path(folder), sizes, options.rounds)
    print_table(measured)
    if SERVER_CPU == CLIENT_CPU:
        print("Servers and load shared one processor: these figures say little.")
    if options.json:
        options.json.write_bytes(orjson.dumps(_plain(measured), option=orjson.OPT_INDENT_2))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        prog="make bench", description="Measure; figures, no verdicts."
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_const", const=QUICK, dest="sizes", help="a minute")
    sizes.add_argument(
        "--full", action="store_const", const=FULL, dest="sizes", help="10,000 readers"
    )
    parser.add_argument("--only", metavar="ROW,…", default=",".join(names), help=", ".join(names))
    parser.add_argument("--rounds", type=int, metavar="N", help="5, with --quick 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every sample")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="on a real disk (default: /var/tmp)"
    )
    parser.set_defaults(sizes=USUAL)
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(names):
        parser.error(f"there is no row {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    options.rounds = options.rounds or (1 if options.sizes is QUICK else 5)
    return options


def _measure(
    rows: Sequence[Row], folder: Path, sizes: Sizes, rounds: int
) -> Iterator[tuple[Row, Rounds]]:
    """Measure rows in turn on the same servers."""
    names = [name for name in peer.NAMES if any(name in row.peers for row in rows)]
    with _serving(names, folder) as peers:
        for row in rows:
            print(f"{row.name} …", file=sys.stderr, flush=True)
            asked = [p for p in peers if p.name in row.peers]
            if not row.fresh:
                _round(row, asked, sizes._replace(seconds=0.3))  # thrown away
            yield row, _turns(row, asked, sizes, 1 if row.fresh else rounds)


def _turns(row: Row, peers: Sequence[Peer], sizes: Sizes, rounds: int) -> Rounds:
    """A B C, A B C, …"""
    samples = [_round(row, peers, sizes) for _ in range(rounds)]
    return {p.name: [sample[p.name] for sample in samples] for p in peers}


def _round(row: Row, peers: Sequence[Peer], sizes: Sizes) -> dict[str, Sample]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return {p.name: runner.run(row.measure(p, sizes)) for p in peers}


@contextlib.contextmanager
def _serving(names: Sequence[str], folder: Path) -> Iterator[list[Peer]]:
    """Servers in folders of their own."""
    place = Path(tempfile.mkdtemp(dir=folder))
    with contextlib.ExitStack() as stack:
        peers = []
        for name in names:
            peers.append(peer.start(name, place / name))
            stack.callback(peers[-1].server.kill)
        yield peers


def _plain(measured: Sequence[tuple[Row, Rounds]]) -> dict[str, dict[str, list[dict[str, object]]]]:
    return {
        row.name: {name: [s._asdict() for s in samples] for name, samples in rounds.items()}
        for row, rounds in measured
    }


if __name__ == "__main__":
    main()
