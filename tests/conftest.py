"""Modules of tests that are collected by way of others: their assertions are to be explained as well."""

import pytest

pytest.register_assert_rewrite(
    "bridge_tests",
    "bundles",
    "containers",
    "ctr_tests",
    "engine_network_tests",
    "engine_tests",
    "pod_tests",
    "podman_tests",
    "pods",
    "root_tests",
    "terminal_tests",
)
