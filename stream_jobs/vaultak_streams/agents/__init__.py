"""The Faust shell around the pipeline: what reads, writes, signs, commits and tells the time."""
