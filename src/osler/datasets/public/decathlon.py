"""The Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022; http://medicaldecathlon.com).

URLs and MD5s are those of ``monai/apps/datasets.py`` of https://github.com/Project-MONAI/MONAI (the copies that the
challenge's organisers and MONAI keep on S3); the licence is that of http://medicaldecathlon.com.
"""

from __future__ import annotations

from osler.datasets.public.base import PublicSet

__all__ = ["DECATHLON"]

_TASKS = (
    ("Task01_BrainTumour", "brain tumours, four MR sequences", "240a19d752f0d9e9101544901065d872"),
    ("Task02_Heart", "left atrium, MR", "06ee59366e1e5124267b774dbd654057"),
    ("Task03_Liver", "liver and its tumours, CT", "a90ec6c4aa7f6a3d087205e23d4e6397"),
    ("Task04_Hippocampus", "hippocampus in two parts, MR", "9d24dba78a72977dbd1d2e110310f31b"),
    ("Task05_Prostate", "prostate zones, two MR sequences", "35138f08b1efaef89d7424d2bcc928db"),
    ("Task06_Lung", "lung tumours, CT", "8afd997733c7fc0432f71255ba4e52dc"),
    ("Task07_Pancreas", "pancreas and its tumours, CT", "4f7080cfca169fa8066d17ce6eb061e4"),
    ("Task08_HepaticVessel", "hepatic vessels and tumours, CT", "641d79e80ec66453921d997fbf12a29c"),
    ("Task09_Spleen", "spleen, CT", "410d4a301da4e5b2f6f86ec3ddba524e"),
    ("Task10_Colon", "colon cancer, CT", "bad7a188931dc2f6acf72b08eb6202d0"),
)

DECATHLON = tuple(
    PublicSet(
        name=task.lower(),
        family="Medical Segmentation Decathlon",
        about=about,
        url=f"https://msd-for-monai.s3-us-west-2.amazonaws.com/{task}.tar",
        file=f"{task}.tar",
        md5=md5,
        licence="CC BY-SA 4.0",
        licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
        cite="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13:4128 (2022)",
        unpack=True,
    )
    for task, about, md5 in _TASKS
)
"""The ten tasks, ``task01_braintumour`` to ``task10_colon``."""
