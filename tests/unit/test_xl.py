"""What xl says and how it ends, where the two do not agree."""

import pytest
from verbhost import Host

from runx.errors import RunxError
from runx.exec import xl


def test_a_domain_that_has_gone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", host.xen.environment()["PATH"])
    xl.destroy("999")
    xl.destroy("nobody")
    assert xl.domid("nobody") is None
    for verb in (xl.pause, xl.unpause):
        with pytest.raises(RunxError, match="Non-existant domain"):
            verb(999)
