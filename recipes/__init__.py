# SPDX-License-Identifier: Apache-2.0
"""One page of wiring for each verb of the command line."""
