"""From files, pipes and iterables to windows of columns. The rules of what is valid are in `rules`.

`reader` opens an input and cuts it into blocks of whole `lines`; `csv` and `jsonl` turn a block into columns at once
if it is clean (`uniform`: machine-written lines), otherwise record by record (`records`), with a reason for each record
that is not a valid change. `windows` combines the stretches.
"""
