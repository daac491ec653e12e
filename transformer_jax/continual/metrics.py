"""What a stream of tasks left behind, from its matrix of accuracies R[i, j]: on task j after learning task i."""

import numpy as np

# K tasks


def of_matrix(R_KxK: np.ndarray, untrained_K: np.ndarray) -> dict[str, float]:
    """Average accuracy, backward and forward transfer (Lopez-Paz & Ranzato 2017, arXiv 1706.08840), forgetting
    (Chaudhry et al. 2018, arXiv 1801.10112), stability and learning accuracy.

    Args:
      R_KxK: accuracies; row i after learning task i, column j on task j, tasks in the order in which they came.
      untrained_K: the accuracy on each before any training.

    Returns:
      average_accuracy: mean of the last row.
      backward_transfer: mean over all tasks but the last of R[K-1, j] - R[j, j]; below 0 where they were forgotten.
      forward_transfer: mean over all tasks but the first of R[j-1, j] - untrained[j].
      forgetting: mean over all tasks but the last of the best accuracy before the last task less the last.
      stability: 1 - forgetting.
      learning_accuracy: mean of R[j, j]; over that at strength 0 it is plasticity.

    Raises:
      ValueError: the matrix is not square, or of one task.
    """
    R = np.asarray(R_KxK, float)
    K = len(R)
    if R.shape != (K, K) or K < 2 or np.shape(untrained_K) != (K,):
        raise ValueError(f"accuracies of K tasks, two or more, are K x K and K: got {R.shape}, {np.shape(untrained_K)}")
    last, own = R[-1], np.diag(R)
    forgetting = float(np.mean(R[:-1, :-1].max(0) - last[:-1]))
    return {
        "average_accuracy": float(last.mean()),
        "backward_transfer": float(np.mean(last[:-1] - own[:-1])),
        "forward_transfer": float(np.mean(R[np.arange(K - 1), np.arange(1, K)] - np.asarray(untrained_K)[1:])),
        "forgetting": forgetting,
        "stability": 1 - forgetting,
        "learning_accuracy": float(own.mean()),
    }


def js_distance(p_xS: np.ndarray, q_xS: np.ndarray) -> float:
    """The mean Jensen–Shannon distance (the root of the divergence to base 2, in 0 .. 1) of distributions along the
    last axis."""
    p, q = np.asarray(p_xS, float), np.asarray(q_xS, float)
    middle = (p + q) / 2

    def divergence(x):
        return np.sum(np.where(x > 0, x * np.log2(np.where(x > 0, x, 1) / np.where(middle > 0, middle, 1)), 0), -1)

    return float(np.sqrt(np.clip((divergence(p) + divergence(q)) / 2, 0, 1)).mean())
