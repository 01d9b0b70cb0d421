"""tools/fuzz: search for bytes from a guest that break the supervisor, or the server of its shares, guided by the coverage of
their code.

atheris (libFuzzer for Python) makes up the bytes. `tools/runxtools/testing/hostile.py` feeds them to the real supervisor, and
`hostile_share.py` and `hostile_changes.py` beside it to the real server. The search ends at an exception other than a broken rule
of the link, and at a bound that does not hold. The bytes are then in the corpus's directory as `crash-…`, and `tools/fuzz FILE`
repeats the fault. Bytes that cover new code are kept in the corpus, where the next search starts.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from runxtools import cache, venv
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of, run
from runxtools.progress import Progress

ATHERIS = "atheris==3.0.0"
_HASHES = (
    "8a5c8a781467c187da40fd29139784193e2647058831f837f675d0bb8cbd8746",
    "510e502c57b6dc615fb174066407af620d4c7f73cf08a782c86e7761bf12c4eb",
    "a402cdca8a650d1371050b1f9552eb4cdc488d2db64950d603c4560318365eac",
)
"""Of its files for Python 3.11, 3.12 and 3.13 on x86_64; there are no others."""
_LINK = """
import os, sys, tempfile
from pathlib import Path
import atheris
with atheris.instrument_imports(include=["runx.exec.console", "runx.exec.supervisor"]):
    import runx.exec.supervisor.guest_link
from runxtools.testing.hostile import HELLO, READERS, STARTED, Conversation
place = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))

def one(data):
    # The first byte selects the reader, how many sessions there are, and whether KILL comes when the guest pauses; the second
    # where it pauses. Sessions begin when session 0 has. Every other guest is asked for its time.
    first, pause = (*data[:2], 0, 0)[:2]
    sessions = first // 32 % 4
    with Conversation(place, READERS[first % len(READERS)], sessions=sessions, keeps_clock=bool(pause % 2)) as conversation:
        begin = HELLO
        if sessions:
            conversation.hear(HELLO + STARTED)
            begin = b""
        if conversation.hear(begin + data[2 : 2 + pause]) is None and (first < 128 or conversation.kill() is None):
            conversation.hear(data[2 + pause :])

atheris.Setup(sys.argv, one)
atheris.Fuzz()
"""
_SHARES = """
import os, sys, tempfile
from pathlib import Path
import atheris
with atheris.instrument_imports(include=["runx.exec.ninep"]):
    import runx.exec.ninep.session
from runxtools.testing.hostile_share import Place
place = Place(Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)))
atheris.Setup(sys.argv, place.hear)
atheris.Fuzz()
"""
_CHANGES = _SHARES.replace("ninep.session", "ninep.changes").replace("hostile_share", "hostile_changes")
_TARGETS = {"link": _LINK, "shares": _SHARES, "changes": _CHANGES}
"""Programs by what they search: the console link, the messages of 9p shares, records of what a container has written."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="seconds to search (default: 60)")
    parser.add_argument("--target", choices=sorted(_TARGETS), default="link", help="what to break (default: link)")
    parser.add_argument("--corpus", metavar="DIR", type=Path, help="directory of the corpus (default: in the cache)")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="try the bytes of this file only")
    options = parser.parse_args()
    python = venv.find() or venv.make()
    corpus = options.corpus or cache.root() / ("fuzz" if options.target == "link" else f"fuzz-{options.target}")
    corpus.mkdir(parents=True, exist_ok=True)
    what = [str(options.file.absolute())] if options.file else [f"-max_total_time={options.seconds}", str(corpus.absolute())]
    paths = [CHECKOUT, CHECKOUT / "tools", _library(python)]
    argv = [str(python), "-c", f"import sys; sys.path[:0] = {list(map(str, paths))!r}{_TARGETS[options.target]}"]
    settings = ["-max_len=16384", f"-artifact_prefix={corpus.absolute()}/", "-print_final_stats=1"]
    return 1 if subprocess.run([*argv, *settings, *what], cwd=CHECKOUT).returncode else 0


def requirement() -> str:
    """atheris, as a line of a file of requirements (pip, "Secure installs")."""
    return " ".join((ATHERIS, *(f"--hash=sha256:{value}" for value in _HASHES))) + "\n"


def _library(python: Path) -> Path:
    """Directory of atheris for the tests' interpreter. Raises ToolError with pip's message."""

    def fill(directory: Path) -> None:
        step = Progress(1).step(f"installing {ATHERIS}", about_s=10)
        with step, tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(requirement())
            file.flush()
            words = ("-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--require-hashes", "--only-binary=:all:")
            run([python, *words, "--target", directory, "-r", file.name], "pip install")

    key = cache.key_of({"atheris": requirement(), "python": str(python)})
    with cache.locked(cache.root() / "atheris.lock"):
        return cache.find(cache.root(), "atheris", key) or cache.make(cache.root(), "atheris", key, fill)


if __name__ == "__main__":
    main_of("fuzz", main)
