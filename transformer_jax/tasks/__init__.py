"""Tasks: generated, or real sets through tensorflow-datasets and Grain, behind one Task."""
