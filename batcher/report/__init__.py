"""Reports about a run or a load run, as one self-contained HTML page."""
