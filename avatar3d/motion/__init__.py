# SPDX-License-Identifier: Apache-2.0
"""Motion models: one file each, the same contract (`avatar3d.contracts.Speak`)."""
