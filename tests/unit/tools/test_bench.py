"""tools/bench: its arithmetic, its table and its exit status. Nothing is timed here."""

import json
import os
import sys
from pathlib import Path

import pytest

from runxtools.bench import double, host, lab, main, roots, shares
from runxtools.bench.figures import Figure, table


def test_a_limit_with_a_floor_is_a_multiple_of_it() -> None:
    figure = Figure("state", "ms", [30, 10, 29], floor=[10, 11, 9], limit=3)
    assert (figure.value, figure.ratio, figure.kept) == (29, 2.9, True)
    assert figure._replace(samples=[30]).kept, "the limit itself is kept"
    assert figure._replace(samples=[30.1]).kept is False


def test_a_limit_without_a_floor_is_in_the_unit() -> None:
    figure = Figure("memory", "MiB", [13, 14], limit=14)
    assert (figure.value, figure.ratio, figure.kept) == (13.5, None, True)
    assert figure._replace(samples=[14.5]).kept is False


def test_a_limit_to_be_reached() -> None:
    figure = Figure("throughput", "KB/s", [400], floor=[40], limit=8, at_least=True)
    assert figure.kept
    assert figure._replace(samples=[300]).kept is False


def test_without_a_limit_nothing_is_judged() -> None:
    assert Figure("delete", "ms", [20], floor=[10]).kept is None


def test_the_table() -> None:
    figures = [
        Figure("state", "ms", [15.04], [10], 3),
        Figure("memory of it", "MiB", [14.5], limit=14),
        Figure("throughput", "KB/s", [400], [40], 8, at_least=True),
        Figure("delete", "ms", [20], [10]),
    ]
    assert table(figures) == (
        "what            measured      floor    ratio      limit\n"
        "state            15.0 ms    10.0 ms   1.50 x     <= 3 x  ok\n"
        "memory of it    14.5 MiB                      <= 14 MiB  OVER\n"
        "throughput    400.0 KB/s  40.0 KB/s  10.00 x     >= 8 x  ok\n"
        "delete           20.0 ms    10.0 ms   2.00 x\n"
    )


def test_the_figures_of_shares() -> None:
    """Of a lab whose QEMU cannot serve, there is nothing to compare with."""
    own = {f"runx {what}": 10.0 for what in shares.WORKLOADS} | {
        "busy_mib": 7.0,
        "server_mib": 5.0,
        "cost_mib": 9.0,
        "rings_mib": 2.0,
    }
    beside = own | {f"qemu {what}": 20.0 for what in shares.WORKLOADS}
    *times, busy, quiet, cost, rings = shares.share_figures([beside, beside])
    assert [(figure.ratio, figure.kept) for figure in times] == [(0.5, True)] * len(shares.WORKLOADS)
    assert [figure.kept for figure in (busy, quiet, cost, rings)] == [False, True, False, True]
    assert [figure.ratio for figure in shares.share_figures([own])[:5]] == [None] * 5


def test_the_figures_of_the_lab() -> None:
    rounds = [
        {"create_s": 3.0, "life_s": 9.0, "link": 500_000.0, "xl_create_s": 1.0, "hvc0": 50_000.0},
        {"create_s": 4.0, "life_s": 8.0, "link": 300_000.0, "xl_create_s": 2.0, "hvc0": 30_000.0},
        {"create_s": 5.0, "life_s": 7.0, "link": 400_000.0, "xl_create_s": 3.0, "hvc0": 60_000.0},
    ]
    throughput, *times = lab.lab_figures(rounds)
    assert (throughput.value, throughput.ratio, throughput.kept) == (400, 8, True)
    assert [(figure.value, figure.kept) for figure in times] == [(2, None), (4, None), (8, None)]


def test_boots_are_judged_by_carrier() -> None:
    rounds = [{"floor": 100.0, "ram": 120.0, "disk": 120.0 + more, "9p": 500.0} for more in (0, 20, 20)]
    assert [(figure.ratio, figure.kept) for figure in lab.boot_figures(rounds)] == [(1.2, True), (1.4, False), (5, None)]


def test_memory_of_the_smallest_machine() -> None:
    figures = lab.memory_figures([{"ram": 16 * 1024, "disk": 15 * 1024, "9p": 17 * 1024, "kernel": 8 * 1024}])
    assert [(figure.value, figure.kept) for figure in figures] == [(16, True), (15, True), (17, False), (8, None)]


def test_rates_of_disks() -> None:
    rounds = [{"own": [90e6, 60e6, 500.0, 300.0], "ready": [100e6, 100e6, 500.0, 400.0]}]
    figures = lab.disk_figures(rounds)
    assert [(figure.value, figure.ratio, figure.kept) for figure in figures] == [
        *((90, 0.9, True), (60, 0.6, False)),
        *((500, 1, True), (300, 0.75, False)),
    ]


def test_rates_of_networks() -> None:
    to = {"vif_to": 12e6, "bridged_to": 10e6, "engine_to": 9.5e6}
    between = {"vif_between": 6e6, "bridged_between": 4e6, "engine_between": 3e6}
    figures = double.network_figures("lab", [{**to, **between}])
    assert [(figure.value, figure.ratio and round(figure.ratio, 2), figure.kept) for figure in figures] == [
        *((9.5, 0.95, True), (9.5, 0.79, None)),
        *((3, 0.75, False), (3, 0.5, None)),
    ]


def test_commands_of_several_runtimes() -> None:
    rounds = [
        {
            "floor": 10.0,
            **{f"{name} {command}": ms for name, ms in (("runx", 30.0), ("runc", 20.0)) for command in double.COMMANDS},
        }
    ]
    figures = double.command_figures(rounds)
    assert [(figure.what, figure.ratio) for figure in figures[:2]] == [("runx: create", 3), ("runc: create", 2)]
    assert {figure.what for figure in figures[-2:]} == {"runx: a life", "runc: a life"}


def test_a_session_is_measured_against_what_it_is_made_of() -> None:
    """Time beside `state`, without that of a process; output beside the container's."""
    rounds = [{"process": 2.0, "state": 10.0, "exec": 32.0, "session": 45e6, "container": 50e6}] * 3
    time, output = double.session_figures(rounds)
    assert (time.value, time.ratio, time.kept) == (30.0, 3.0, True)
    assert (output.value, output.ratio, output.kept) == (45.0, 0.9, True)
    slow = double.session_figures([{**rounds[0], "exec": 32.1, "session": 44e6}])
    assert [figure.kept for figure in slow] == [False, False]


def test_many_at_once() -> None:
    def row(seconds: float) -> dict[str, float]:
        return {"seconds": seconds, "mib": 4}

    figures = double.many_figures([{"1": row(0.5), "10": row(0.2), "50": row(0.3)}])
    assert [(figure.ratio and round(figure.ratio, 1), figure.kept) for figure in figures] == [
        *((None, None), (None, None), (1.5, False)),
        *((None, None), (None, None), (1, True)),
    ]


def test_images_of_roots() -> None:
    rounds = [{"mib": mib, "cold": 0.6, "made": 0.5 + mib / 100, "warm": 0.5} for mib in (10, 1000)]
    figures = roots.image_figures("here", rounds, 200)
    assert [(round(figure.value, 1), figure.kept) for figure in figures] == [
        *((104.9, None), (0.6, None), (0.6, None), (0.5, None)),
        *((104.9, False), (0.6, None), (10.5, None), (0.5, None)),
    ]


def test_files_of_roots() -> None:
    rounds = [{"disk list": 1.6, "ext4 list": 1, "disk make": 1, "ext4 make": 1, "disk read": 0.5, "ext4 read": 1}]
    figures = roots.file_figures("lab", rounds)
    assert [(figure.ratio, figure.kept) for figure in figures] == [(1.6, False), (1, True), (0.5, True)]


def test_memory_of_a_process() -> None:
    own_rss, own_pss = host.memory_kib(os.getpid())
    assert 0 < own_pss <= own_rss * 1.1


@pytest.mark.parametrize(("create_ms", "status"), [(240, 0), (260, 1)])
def test_a_broken_limit_is_the_exit_status(
    create_ms: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(main, "measure_double", lambda _: [])
    monkeypatch.setattr(main, "measure_shares", lambda _: [])
    monkeypatch.setattr(main, "measure_floods", lambda _: [])
    monkeypatch.setattr(main, "measure_host", lambda rounds: [Figure("create", "ms", [create_ms] * rounds, [10], 25)])
    monkeypatch.setattr(sys, "argv", ["bench", "--no-lab", "--json", str(tmp_path / "figures")])
    assert main.main() == status
    captured = capsys.readouterr()
    assert f"create  {create_ms}.0 ms" in captured.out
    assert ("over the limit: create" in captured.err) == bool(status)
    document = json.loads((tmp_path / "figures").read_text())
    (figure,) = document["figures"]
    assert (figure["what"], figure["median"], figure["ratio"], figure["kept"]) == (
        "create",
        create_ms,
        create_ms / 10,
        not status,
    )
    assert figure["rounds"] >= 21
    assert "load" in document["circumstances"]


def test_parts_of_the_lab_are_chosen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(main.Lab, "up", lambda _: None)
    for part in lab.PARTS:
        monkeypatch.setitem(lab.PARTS, part, lambda *_, part=part: [Figure(part, "s", [1])])
    monkeypatch.setattr(main.Lab, "put", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["bench", "--only", "memory", "boot"])
    assert main.main() == 0
    figures = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("1.0 s")]
    assert figures == ["boot", "memory"]
