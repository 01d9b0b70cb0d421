"""Modules of tests that are collected by way of others: their assertions are to be explained as well."""

import pytest

pytest.register_assert_rewrite(
    "bundles", "containers", "ctr_tests", "engine_tests", "podman_tests", "root_tests", "terminal_tests"
)
