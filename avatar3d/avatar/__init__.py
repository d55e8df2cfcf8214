# SPDX-License-Identifier: Apache-2.0
"""Heads: one file each, the same contract (`avatar3d.contracts.Head`)."""
