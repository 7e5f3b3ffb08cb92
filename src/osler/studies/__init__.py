"""Studies: images, signals and their geometry; reading and writing files; finding studies; pictures for people."""
