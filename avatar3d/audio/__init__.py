# SPDX-License-Identifier: Apache-2.0
"""Audio features: one file each, the same contract (`avatar3d.contracts.Listen`)."""
