# SPDX-License-Identifier: Apache-2.0
"""Gaussians that stand still, as files of other programs: one file here is one format, by `contracts.WriteSplats`."""
