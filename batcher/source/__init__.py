"""From files, pipes and iterables to windows of columns. The rules of what is valid stand in `rules`.

`reader` opens an input and cuts it into blocks of whole `lines`; `csv` and `jsonl` turn a block into columns at once
where it is clean (`uniform`: lines that a machine wrote), else record by record (`records`), with a reason for each
that is no change. `windows` puts the stretches together.
"""
