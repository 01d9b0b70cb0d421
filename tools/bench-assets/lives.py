#!/usr/bin/python3
"""Measure for tools/bench: the commands of a container's life under several runtimes, and many containers at once.

    lives.py commands ROUNDS RUNTIME...  a JSON object a round: milliseconds of "RUNTIME COMMAND", and of the floor
    lives.py many ROUNDS COUNT...        a JSON object a round: for each COUNT, seconds and MiB of a supervisor for one container

A runtime is a path, or a name on PATH.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from bundle import make_bundle, make_root

RUNX = "/usr/local/bin/runx"
FLOOR = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
LIMIT_S = 900


def timed(argv: list[str], errors: str) -> float:
    """Milliseconds that a program takes."""
    with open(errors, "w+") as output:
        begin = time.perf_counter()
        status = subprocess.call(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        end = time.perf_counter()
        if status:
            output.seek(0)
            raise SystemExit(f"{' '.join(argv)} failed: {output.read()[-2000:]}")
    return (end - begin) * 1000


def commands(directory: str, rounds: int, runtimes: list[str]) -> None:
    bundle = make_bundle(directory, f"{directory}/root", ["/bin/busybox", "sleep", "1000"])
    for number in range(-1, rounds):
        round_ = {"floor": timed(FLOOR, f"{directory}/output")}
        for runtime in runtimes:
            name = os.path.basename(runtime)
            argv = [runtime, "--root", f"{directory}/{name}"]

            def command(word: str, *words: str, argv: list[str] = argv) -> float:
                return timed([*argv, word, *words], f"{directory}/output")

            begin = time.perf_counter()
            try:
                times = {"create": command("create", "--bundle", bundle, "--pid-file", f"{directory}/pid", "c")}
                with open(f"{directory}/pid") as file:
                    pid = int(file.read())
                times["start"] = command("start", "c")
                times["state"] = command("state", "c")
                times["kill"] = command("kill", "c", "KILL")
                os.waitpid(pid, 0)
                times["delete"] = command("delete", "c")
            except BaseException:
                subprocess.call([*argv, "delete", "--force", "c"])
                raise
            times["all"] = (time.perf_counter() - begin) * 1000
            round_ |= {f"{name} {word}": value for word, value in times.items()}
        if number >= 0:  # the first round warmed the page cache
            print(json.dumps(round_), flush=True)


def many(directory: str, rounds: int, counts: list[int]) -> None:
    """Start `count` containers at once, each of which prints a line and waits for one."""
    args = ["/bin/busybox", "sh", "-c", "echo ready; read line"]
    bundles = [make_bundle(directory, f"{directory}/root", args) for _ in range(max(counts))]
    for _ in range(rounds):
        round_ = {str(count): at_once(f"{directory}/state", bundles[:count]) for count in counts}
        print(json.dumps(round_), flush=True)


def at_once(state: str, bundles: list[str]) -> dict[str, float]:
    pipe = subprocess.PIPE
    begin = time.perf_counter()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, bundle in enumerate(bundles):
            argv = [RUNX, "--root", state, "run", "--pid-file", f"{bundle}/pid", "--bundle", bundle, f"c{number}"]
            processes.append(subprocess.Popen(argv, stdin=pipe, stdout=pipe, bufsize=0))
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise SystemExit("a container printed nothing")
        ready = time.perf_counter()
        memory = [supervisor_mib(f"{bundle}/pid") for bundle in bundles]
        looked = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.close()
        for process in processes:
            if process.wait(LIMIT_S):
                raise SystemExit(f"a container ended with status {process.returncode}")
        seconds = time.perf_counter() - looked + ready - begin
    except BaseException:
        for number, process in enumerate(processes):
            process.kill()
            process.wait()
            subprocess.call([RUNX, "--root", state, "delete", "--force", f"c{number}"])
        raise
    return {"seconds": seconds / len(bundles), "mib": sum(memory) / len(bundles)}


def supervisor_mib(pid_file: str) -> float:
    """Memory of a supervisor with its share of common pages (Pss, smaps_rollup of proc(5))."""
    with open(pid_file) as file:
        pid = int(file.read())
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


def main(what: str, rounds: int, *words: str) -> None:
    # Like an engine, be the parent of the supervisors (prctl(2), PR_SET_CHILD_SUBREAPER).
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as directory:
        make_root(f"{directory}/root")
        if what == "commands":
            commands(directory, rounds, list(words))
        else:
            many(directory, rounds, [int(word) for word in words])


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
