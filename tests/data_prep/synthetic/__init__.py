# SPDX-License-Identifier: Apache-2.0
"""Tests of the made-up talker (a package, since its file names recur elsewhere)."""
