"""runx.toml: what it may hold, what is said of what it may not, and `runx config`."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli.test_plan import bundle, run

from compiler_cases import CASES, TextFacts
from runx import paths
from runx.compiler.diagnostics import CompileError
from runx.compiler.host.config import SETTINGS, HostConfig, read_host_config
from runx.compiler.host.facts import NoAnswer
from runx.compiler.host.host_facts import HostFacts
from runx.compiler.model.plan import Domain
from runx.compiler.passes.guest_type import guest_type
from runx.compiler.passes.memory import memory_mib
from runx.compiler.pipeline import Inputs, compile
from runx.errors import RunxError
from runx.paths import state_root

assert bundle  # a fixture


def read(text: str) -> object:
    return read_host_config(("runx.toml", text.encode()))


def test_without_a_file_all_are_defaults() -> None:
    settings = read_host_config(None)
    assert settings == HostConfig()
    # Each field is a setting, and each setting a field.
    assert sorted(setting.field for setting in SETTINGS) == sorted({*HostConfig._fields} - {"lines", "file"})
    assert {settings.where(setting.key) for setting in SETTINGS} == {"default"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[defaults]\nmemry = 1\n", 'runx.toml:2:1: defaults.memry: unknown setting (did you mean "memory"?)'),
        ("\n[defalts]\n", 'runx.toml:2:1: defalts: unknown section (did you mean "defaults"?)'),
        ("memory = '1GiB'\n", "runx.toml:1:1: memory: unknown section"),
        ("defaults = 3\n", "runx.toml:1:1: defaults: must be a section, [defaults]"),
        ("defaults.vcpus = 0\n", "runx.toml:1:1: defaults.vcpus: must be a number from 1 to 64, not 0"),
        ("defaults = { vcpus = 65 }", "runx.toml:1:1: defaults.vcpus: must be a number from 1 to 64, not 65"),
        ("[defaults]\nvcpus = true\n", "runx.toml:2:1: defaults.vcpus: must be a number from 1 to 64, not true"),
        ("[defaults]\nmemory = 256\n", 'must be a size from 64 MiB to 16384 GiB such as "256MiB" or "2GiB", not 256'),
        ("[defaults]\nmemory = '63MiB'\n", "must be a size from 64 MiB to 16384 GiB"),
        ("[defaults]\nmemory = '16385GiB'\n", "must be a size from 64 MiB to 16384 GiB"),
        ("[defaults]\nmemory = '64 MB'\n", "must be a size"),
        ("[defaults]\ntype = 'hvm'\n", 'must be auto, pv or pvh, not "hvm"'),
        ("[defaults]\nkernel_parameters = 'x y'\n", "kernel_parameters: must be a list of parameters, not"),
        ("[defaults]\nkernel_parameters = ['x', 'x y']\n", "kernel_parameters[1]: must be one parameter, without"),
        ("[defaults]\nkernel_parameters = ['é']\n", "kernel_parameters[0]: must be one parameter, without"),
        (
            "[network]\nhost = 'a bridge'\n",
            'runx.toml:2:1: network.host: must be the name of a bridge, or "" for none, not "a bridge"',
        ),
        ("[network]\nanti_spoofing = true\n", 'network.anti_spoofing: must be "mac", "addresses" or false, not true'),
        ("[network]\nanti_spoofing = 'ip'\n", 'network.anti_spoofing: must be "mac", "addresses" or false, not "ip"'),
        ("[policy]\nown_kernels = 1\n", "runx.toml:2:1: policy.own_kernels: must be true or false, not 1"),
        (
            "[policy]\nannotations = ['org.runx.x']\n",
            "org.runx.root.layer_size, org.runx.root.write_back, org.runx.sync_clock, org.runx.xlconf",
        ),
        ("[root]\nwrite_back = 'now'\n", 'root.write_back: must be exit or never, not "now"'),
        ("[root]\ncarrier = 'nfs'\n", 'root.carrier: must be auto, disk, 9p or ram, not "nfs"'),
        ("[root]\nram_limit = '1GiB'\n", 'ram_limit: must be a size from 1 to 512 MiB such as "32MiB", not "1GiB"'),
        ("[kill]\nanswer_timeout = 0\n", "kill.answer_timeout: must be a number of seconds from 1 to 3600, not 0"),
        ("[kill]\nend_timeout = '8s'\n", 'kill.end_timeout: must be a number of seconds from 1 to 3600, not "8s"'),
        ("[mounts]\nby_value = ['/etc/hosts']\n", "mounts.by_value[0]: must be a pair of patterns"),
        ("[policy]\nxlconf_keys = ['A']\n", "runx.toml:2:1: policy.xlconf_keys[0]: must be a key of xl.cfg(5), not "),
        ("[policy]\nxlconf_keys = ['maxvcpu']\n", 'a key of xl.cfg(5) (did you mean "maxvcpus"?), not "maxvcpu"'),
        ("[policy]\nxlconf_keys = 'a'\n", "policy.xlconf_keys: must be a list of keys of xl.cfg(5), not "),
        ("[policy]\nnetworks = '/etc/cni/net.d'\n", "policy.networks: must be a list of absolute paths such as "),
        ("[policy]\nnetworks = ['nets']\n", "policy.networks[0]: must be the absolute path of a directory"),
        ("[policy]\nnetworks = ['/etc', '/etc/..']\n", "policy.networks[1]: must be the absolute path of"),
        ("[policy]\nxlconf_keys = ['p9']\n", "must be a key that a container may set (it would share"),
        ("[paths]\nkernel = 'boot/k'\n", 'runx.toml:2:1: paths.kernel: must be an absolute path, not "boot/k"'),
        ("a = 1\na = 2\n", "runx.toml:2:6: not TOML: cannot overwrite a value"),
        ("[defaults]\n[defaults]\n", "runx.toml:2:10: not TOML: cannot declare defaults twice"),
        ("a.b = 1\n[a.b]\n", "not TOML: cannot "),
        ("[a", "runx.toml:1:1: not TOML: "),
        ("\n[[defaults]]\nvcpus = 1\n", "runx.toml:2:1: defaults: must be a section, [defaults]"),
        ("[root]\ncarrier = ['a', 1, true, {b = 1}]\n", 'disk, 9p or ram, not ["a", 1, true, {"b" = 1}]'),
        ("[network]\nhost = '-5MiB'\n", 'runx.toml:2:1: network.host: must be the name of a bridge, or "" for none, not "-5MiB"'),
        ("[network]\nhost = '..'\n", "network.host: must be the name of a bridge"),
        ("[defaults]\nvcpus = " + "9" * 6000, "runx.toml:2:9: a number has thousands of digits"),
        (
            "[defaults]\nvcpus = 0x" + "f" * 6000,
            "runx.toml:2:1: defaults.vcpus: must be a number from 1 to 64, not a number of many",
        ),
        ("\na = " + "[" * 5000, "runx.toml:2:69: nested too deeply"),
        ("a = '''\n\n", "runx.toml:1:1: not TOML: "),
    ],
)
def test_faults(text: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        read(text)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("", "/run/runx"),
        ("[paths]\nkernel = '/k'\n", "/run/runx"),
        ("[policy]\n# state = '/s'\n[paths]\n#state = '/t'\n", "/run/runx"),
        ("[defaults]\nkernel_parameters = ['a',\n'paths.state=/s']\n", "/run/runx"),
        ("[paths]\nstate = '/srv/runx'\n", "/srv/runx"),
        ('[paths] # where\n\tstate="/é x"#y', "/é x"),
        ("[defaults]\nvcpus = 2\n[paths]\nkernel = '/k'\nstate = '/s' # state = '/t'\n[policy]\n", "/s"),
        ("paths.state = '/s'\n", "/s"),
        ("paths = { state = '/s' }\n", "/s"),
        ("[ 'paths' ]\n'state' = '''/s'''\n", "/s"),
        ('[paths]\n"\\u0073tate" = "/\\u0073"\n', "/s"),
    ],
)
def test_all_commands_find_the_same_state_root(tmp_path: Path, text: str, root: str) -> None:
    """Also those that load no parser of TOML unless the setting may be there."""
    (tmp_path / "runx.toml").write_text(text)
    assert state_root(str(tmp_path / "runx.toml")) == root
    assert read_host_config(("runx.toml", text.encode())).state == root


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[paths]\nstate = '/s\n", "runx.toml: not TOML: "),
        ("[paths]\nstate = " + "9" * 6000, "runx.toml: not TOML: a number of thousands of digits"),
        ("[paths]\nstate = 1\n", "runx.toml: paths.state: must be an absolute path"),
        ("[paths]\nstate = 'srv'\n", "runx.toml: paths.state: must be an absolute path"),
    ],
)
def test_a_state_root_that_cannot_be_read_is_not_guessed(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "runx.toml").write_text(text)
    with pytest.raises(RunxError) as caught:
        state_root(str(tmp_path / "runx.toml"))
    assert message in caught.value.message


def test_a_file_without_the_setting_costs_no_parser(tmp_path: Path) -> None:
    (tmp_path / "runx.toml").write_text("[defaults]\nvcpus = 2\n")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom runx.paths import state_root\nstate_root(sys.argv[2])\n"
        "print(*sys.modules)"
    )
    argv = [sys.executable, "-I", "-S", "-c", script, str(Path(__file__).parents[3]), str(tmp_path / "runx.toml")]
    assert "tomllib" not in subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("value", ["", "srv", "/a,b", '/a"b'])
def test_state_roots_that_cannot_be(value: str) -> None:
    with pytest.raises(CompileError, match=r"runx\.toml:2:1: paths\.state: must be an absolute path without commas"):
        read_host_config(("runx.toml", f"[paths]\nstate = '{value}'\n".encode()))


def test_the_plan_has_the_state_root(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "runx.toml"
    file.write_text("[paths]\nstate = '/srv/state'\n")
    ramdisk = ("plan", "--format", "json", "--config", file, bundle)
    assert json.loads(run(*ramdisk).stdout)["domain"]["ramdisk"] == "/srv/state/ID/initrd"
    assert json.loads(run("--root", "/r", *ramdisk).stdout)["domain"]["ramdisk"] == "/r/ID/initrd"


def test_all_faults_at_once() -> None:
    with pytest.raises(CompileError) as caught:
        read("[defaults]\nx = 1\nvcpus = 0\n[paths]\ny = 1\n")
    assert [place.line for place, _ in caught.value.located if place] == [2, 3, 5]


def test_not_utf8() -> None:
    with pytest.raises(CompileError, match=r"runx\.toml:2:3: not UTF-8: byte 0xff"):
        read_host_config(("runx.toml", b"\n# \xff"))


def test_a_file_that_is_too_large() -> None:
    with pytest.raises(CompileError, match=r"runx\.toml: larger than 16 MiB"):
        read_host_config(("runx.toml", b"#" * (16 * 1024 * 1024 + 1)))


@pytest.mark.parametrize("command", [("config",), ("plan", "BUNDLE"), ("plan", "--root", "/r", "BUNDLE")])
def test_no_file(bundle: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    """A fifo must not hang the program, nor a device fill the memory."""
    os.mkfifo(tmp_path / "fifo")
    words = [str(bundle) if word == "BUNDLE" else word for word in command]
    ahead = words[1:3] if "--root" in words else []
    words = [word for word in words if word not in ahead]
    for file in (tmp_path / "fifo", Path("/dev/zero")):
        done = run(*ahead, words[0], "--config", file, *words[1:])
        assert (done.returncode, done.stderr.decode()) == (1, f"runx: {file}: not a file [RX606]\n")
    assert run(*ahead, words[0], "--config", tmp_path, *words[1:]).stderr.decode().endswith("[RX606]\n")


def test_the_state_root_is_read_from_files_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RunxError, match="fifo: not a file"):
        state_root(str(tmp_path / "fifo"))
    with pytest.raises(RunxError, match="not a file"):
        state_root("/dev/zero")


def test_a_bad_state_root_has_line_and_id(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "runx.toml").write_text("[defaults]\nvcpus = 0\n[paths]\nstate = 1\n")
    for words in (("config",), ("plan", bundle)):
        said = run(words[0], "--config", tmp_path / "runx.toml", *words[1:]).stderr.decode()
        assert "/runx.toml:2:1: defaults.vcpus: must be a number from 1 to 64, not 0 [RX603]\n" in said
        assert "/runx.toml:4:1: paths.state: must be an absolute path without commas, quotes, " in said


def test_its_faults_hide_none_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    """Both are told, each with its line; a fault that a setting might undo is not."""
    (tmp_path / "runx.toml").write_text("[defaults]\nvcpus = 0\n")
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["cwd"] = "relative"
    config["linux"]["namespaces"] = []  # network.host could name a bridge for it
    (bundle / "config.json").write_text(json.dumps(config, indent=1))
    done = run("plan", "--config", tmp_path / "runx.toml", bundle)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert said.index("/runx.toml:2:1: defaults.vcpus: must be") < said.index(": process.cwd: must be an absolute path, not")
    assert "    2 | vcpus = 0\n" in said and '"cwd": "relative"' in said and "RX406" not in said
    told = json.loads(run("plan", "--format", "json", "--config", tmp_path / "runx.toml", bundle).stdout)
    errors = [(Path(one["file"]).name, one["id"], one["path"]) for one in told if one["severity"] == "error"]
    assert errors == [("runx.toml", "RX603", "defaults.vcpus"), ("config.json", "RX103", "process.cwd")]
    (bundle / "config.json").write_text("{")
    said = run("plan", "--config", tmp_path / "runx.toml", bundle).stderr.decode()
    assert "defaults.vcpus" in said and "config.json:1:2: not JSON" in said
    (bundle / "config.json").unlink()
    assert run("plan", "--config", tmp_path / "runx.toml", bundle).stderr.count(b"\nrunx: ") == 0


def test_config_shows_what_is_in_effect(tmp_path: Path) -> None:
    file = tmp_path / "runx.toml"
    file.write_text("# a comment\n[defaults]\nmemory = '1GiB'\n\nvcpus = 2\n[paths]\nkernel = '/k \"'\n")
    done = run("config", "--config", file)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [line.partition("#")[2].split(": ")[0].strip() for line in lines if "=" in line] == [
        f"{file}:3", f"{file}:5", *["default"] * 28, f"{file}:7", *["default"] * 3,
    ]  # fmt: skip
    assert tomllib.loads(done.stdout.decode())["paths"]["kernel"] == '/k "'
    file.write_bytes(done.stdout)
    again = run("config", "--config", file).stdout.decode()
    assert tomllib.loads(again) == tomllib.loads(done.stdout.decode())
    assert "default:" not in again


def test_config_says_what_is_wrong(tmp_path: Path) -> None:
    assert b"no/such: no such file" in run("config", "--config", tmp_path / "no/such").stderr
    (tmp_path / "f").write_text("[defaults]\n\tvcpus = 0\n")
    done = run("config", "--config", tmp_path / "f")
    assert done.returncode == 1
    assert f"runx: {tmp_path}/f:2:1: defaults.vcpus: must be".encode() in done.stderr
    assert b"    2 |  vcpus = 0\n" in done.stderr


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(RunxError, match="no such file"):
        HostFacts(host_config=str(tmp_path / "none")).host_config()


def test_the_plan_follows_it(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "runx.toml"
    file.write_text("[defaults]\nmemory = '1GiB'\n")
    done = run("plan", "--format", "json", "--config", file, bundle)
    assert json.loads(done.stdout)["domain"]["memory_mib"] == 1024
    done = run("plan", "--config", file, "--explain", "domain.memory_mib", bundle)
    assert f'  {file}:2: defaults.memory = "1GiB"\n      without it: 256\n' in done.stdout.decode()


def test_a_limit_of_the_container_wins() -> None:
    class Facts(TextFacts):
        def host_config(self) -> tuple[str, bytes]:  # type: ignore[override]
            return "runx.toml", b"[defaults]\nmemory = '1GiB'\nvcpus = 4\n"

    config = json.loads((CASES / "minimal/config.json").read_text())
    config["linux"]["resources"] = {"memory": {"limit": 512 << 20}, "cpu": {"quota": 200000, "period": 100000}}
    plan = compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=Facts(json.dumps(config)))).plan
    assert (plan.domain.memory_mib, plan.domain.vcpus) == (memory_mib(512 << 20, shares=1, vcpus=2, interfaces=1), 2)


def test_the_page_names_every_setting() -> None:
    page = (Path(__file__).parents[3] / "docs/man/runx.toml.5.md").read_text()
    for setting in SETTINGS:
        assert f"[{setting.section}]" in page
        assert f"**{setting.name}** = " in page


def test_the_pipeline_page_names_the_passes_that_apply_it() -> None:
    top = Path(__file__).parents[3]
    users = [path.name for path in (top / "runx/compiler/passes").glob("*.py") if "host: HostConfig" in path.read_text()]
    page = " ".join((top / "docs/pipeline.md").read_text().split())
    names = [f"`{name}`" for name in sorted(users)]
    assert f"These passes apply it: {', '.join(names[:-1])} and {names[-1]}." in page
    assert len(users) >= 6


@pytest.mark.parametrize(
    ("machine", "toml", "kind"),
    [
        ("x86_64", "", "pv auto: xl info (virt_caps) has no hvm"),
        ("x86_64", "type = 'pvh'", "pvh defaults.type, runx.toml:2"),
        ("aarch64", "", "pvh auto: Arm has no other"),
        ("arm", "type = 'auto'", "pvh auto: Arm has no other"),
        ("arm", "type = 'pvh'", "pvh defaults.type, runx.toml:2"),
        ("riscv64", "", "pv auto: xl info (virt_caps) has no hvm"),
    ],
)
def test_the_type_of_a_guest(machine: str, toml: str, kind: str) -> None:
    domain = on(machine, toml)
    assert f"{domain.type} {domain.type_reason}" == kind


@pytest.mark.parametrize(
    ("capabilities", "own_kernel", "kind"),
    [
        ("pv hvm hvm_directio pv_directio hap iommu_hap_pt_share", False, "pvh auto: xl info (virt_caps) has hvm and hap"),
        ("hvm hvm_directio", False, "pvh auto: xl info (virt_caps) has hvm"),
        ("pv hvm shadow", False, "pv auto: xl info (virt_caps) has hvm without hap, with which pvh would be slow"),
        ("pv hvm hap", True, "pv auto: the container's own kernel may not be made for pvh"),
        ("hvm hap shadow", True, "pvh auto: xl info (virt_caps) has no pv"),
        ("", False, "pv auto: xl info (virt_caps) has no hvm"),
    ],
)
def test_the_hardware_decides(capabilities: str, own_kernel: bool, kind: str) -> None:
    class Facts(TextFacts):
        def virt_caps(self) -> frozenset[str]:
            return frozenset(capabilities.split())

    found = guest_type(HostConfig(), Facts(""), own_kernel=own_kernel)  # type: ignore[arg-type]
    assert f"{found.type} {found.reason}" == kind


class Xl:
    """Counts how often xl is asked."""

    def __init__(self, said: str) -> None:
        self.said, self.asked = said, 0

    def info(self) -> str:
        self.asked += 1
        if not self.said:
            raise RunxError("xl is not here")
        return self.said


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "VIRT_CAPS", f"{tmp_path}/caps")
    return tmp_path / "caps"


def facts_with(xl: Xl, *, keep: bool = True) -> HostFacts:
    facts = HostFacts()
    facts.xl_info, facts.keeps_virt_caps = xl.info, keep
    return facts


def test_xl_is_asked_once(kept: Path) -> None:
    xl = Xl("host   : dom0\nvirt_caps              : pv hvm hap\nxen_major : 4\n")
    looking = facts_with(xl, keep=False)
    assert looking.virt_caps() == looking.virt_caps() == {"pv", "hvm", "hap"}
    assert xl.asked == 1 and not kept.exists(), "runx plan changes nothing"
    for _ in range(2):
        assert facts_with(xl).virt_caps() == {"pv", "hvm", "hap"}
    assert xl.asked == 2 and kept.read_text() == "pv hvm hap\n"
    assert HostFacts().virt_caps() == {"pv", "hvm", "hap"}


@pytest.mark.parametrize("said", ["", "xen_major : 4\n"])
def test_what_xl_does_not_say_is_asked_again(kept: Path, said: str) -> None:
    xl = Xl(said)
    for _ in range(2):
        facts = facts_with(xl)
        for _ in range(2):
            with pytest.raises(NoAnswer):
                facts.virt_caps()
        assert guest_type(HostConfig(), facts).reason.startswith("auto: whether the hardware has hvm is not known: xl i")
    assert xl.asked == 2 and not kept.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="files of others")
@pytest.mark.parametrize("change", ["chown 1000", "chmod 666", "link"])
def test_what_others_may_have_written_is_not_believed(kept: Path, change: str) -> None:
    kept.write_text("pv\n")
    kept.chmod(0o644)
    assert HostFacts().virt_caps() == {"pv"}
    if change == "link":
        kept.rename(f"{kept}.2")
        kept.symlink_to(f"{kept}.2")
    else:
        subprocess.run([*change.split(), kept], check=True)
    assert facts_with(Xl("virt_caps : hvm\n")).virt_caps() == {"hvm"}
    assert kept.read_text() == "hvm\n" and not kept.is_symlink() and kept.stat().st_uid == 0


def test_arm_has_no_pv_guests() -> None:
    """xl would make another one of it, with a warning that nobody sees."""
    with pytest.raises(RunxError, match=r"runx\.toml:2: defaults\.type: there are no pv guests on Arm") as caught:
        on("aarch64", "type = 'pv'")
    assert caught.value.hint == 'write "auto" or "pvh"'


def on(machine: str, toml: str) -> Domain:
    """The minimal container's machine on a host of that architecture."""

    class Facts(TextFacts):
        def machine(self) -> str:
            return machine

        def host_config(self) -> tuple[str, bytes]:  # type: ignore[override]
            return "runx.toml", f"[defaults]\n{toml}\n".encode()

    facts = Facts((CASES / "minimal/config.json").read_text())
    domain = compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=facts)).plan.domain
    assert domain and domain.machine == machine
    return domain
