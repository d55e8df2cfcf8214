# SPDX-License-Identifier: Apache-2.0
"""From an expression to ARKit's scores: the ones that a solver for one frame finds, for all frames at once."""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear

from avatar3d.face.arkit import SCORES, scores_for


def test_scores_lead_back_to_the_expression_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    arkit_map = rng.normal(size=(53, 5)).astype(np.float32)
    true = rng.uniform(size=(7, 52)) * (rng.uniform(size=(7, 52)) < 0.2)
    true[:, 0] = 0
    expression = true @ arkit_map[:-1] + arkit_map[-1]
    found = scores_for(np.hstack([expression, np.ones((7, 2))]), arkit_map, {9: true[:, 9]})
    assert found.min() >= 0 and found.max() <= 1 and not found[:, 0].any()
    np.testing.assert_allclose(found[:, 9], true[:, 9], atol=1e-6)
    assert np.abs(found @ arkit_map[:-1] + arkit_map[-1] - expression).max() < 0.02
    assert np.square(found).sum() < np.square(true).sum() + 0.1


def test_what_no_scores_reach_is_met_as_nearly_as_one_frame_alone_would_be() -> None:
    rng = np.random.default_rng(1)
    arkit_map = np.abs(rng.normal(size=(53, 3)))
    arkit_map[-1] = 0
    expression = np.array([[-2.0, 1.0, 80.0]])
    found = scores_for(expression, arkit_map, {})[0, 1:]
    best = lsq_linear(arkit_map[1:-1].T, expression[0], (0, 1)).x
    off, least = (np.linalg.norm(x @ arkit_map[1:-1] - expression[0]) for x in (found, best))
    assert least > 1 and off < 1.02 * least and len(found) == len(SCORES) - 1
