"""Files on disk: decode images, read lists, verify checksums."""
