"""Reading what nnU-Net v2 leaves behind: its results folder, its plan, its weights. No torch; nothing is executed."""
