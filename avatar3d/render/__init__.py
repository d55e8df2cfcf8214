# SPDX-License-Identifier: Apache-2.0
"""Renderers: one file each, the same contract (`avatar3d.contracts.Draw`)."""
