"""Linear probes of frozen layers: CODIAL's protocol on cached features, and those of Zhang et al. and GlobStat."""
