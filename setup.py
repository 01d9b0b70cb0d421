"""What pyproject.toml cannot say of the wheel: the grammars, which lie beside the package here, are in it there."""

import tempfile

from setuptools import find_packages, setup

# setuptools would make the directories `build`, which has the name of a program of ours, and `runx.egg-info` in the checkout,
# which may be read-only.
with tempfile.TemporaryDirectory(prefix="runx-wheel-") as scratch:
    setup(
        # Debian 12's setuptools (66) refuses the form of pyproject.toml that newer ones want, which warn of the older form.
        license="Apache-2.0",
        packages=[*find_packages(include=["runx", "runx.*"]), "runx.grammars"],
        package_dir={"runx.grammars": "grammars"},
        package_data={"runx.grammars": ["*.lark"]},
        options={"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}},
    )
