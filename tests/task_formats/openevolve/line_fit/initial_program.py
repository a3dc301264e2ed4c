"""Fits a line through points."""


# EVOLVE-BLOCK-START
def fit(points):
    """Slope and intercept of a line through the points."""
    slope = 1.0
    intercept = 0.0
    return slope, intercept


# EVOLVE-BLOCK-END


def predict(points, x):
    slope, intercept = fit(points)
    return slope * x + intercept
