"""``nnUNetv2_predict_from_modelfolder`` on a processor, without mirroring, as a user runs it.

    PYTHON_WITH_NNUNETV2 benchmarks/peers/nnunet_predict.py MODEL_FOLDER INPUT OUTPUT

nnU-Net cannot be installed beside Osler (it needs torchvision). In an environment of its own:

    python -m venv nnunet && nnunet/bin/pip install torch nnunetv2
    NNUNET_PYTHON=nnunet/bin/python python benchmarks/nnunet_convert.py
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # nnU-Net starts processes, which import this file again
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder

    model, given, output = sys.argv[1:]
    choice = ["-f", "all", "-chk", "checkpoint_best.pth", "--disable_tta", "-device", "cpu", "-npp", "1", "-nps", "1"]
    sys.argv = ["nnUNetv2_predict_from_modelfolder", "-m", model, "-i", given, "-o", output, *choice]
    predict_entry_point_modelfolder()
