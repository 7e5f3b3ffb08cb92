"""What can be said of a picture without knowing what it should show: noise, sharpness, ghosts, exposure, text.

Measures are of one study; what is usual is learned from a set of studies, in ``osler.datasets.checks``.
"""
