"""The option that chooses a lab. Modules of tests that are collected by way of others: explain their assertions as well."""

import signal
from pathlib import Path

import pytest

from runxtools.lab import kinds

pytest.register_assert_rewrite("bundles", "containers", *(path.stem for path in (Path(__file__).parent / "shared").glob("*.py")))


def pytest_addoption(parser: pytest.Parser) -> None:
    default = kinds.Kind().name
    parser.addoption(
        "--lab", choices=kinds.NAMES, default=default, help=f"the lab for tests/lab (docs/lab.md); default: {default}"
    )


def pytest_configure() -> None:
    """Give the programs that tests start the default actions of signals.

    nohup(1) and a shell's `&` have some signals ignored, and an engine hands that on to containers. A handler, other than an
    ignored signal, is no one's after execve(2).
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
