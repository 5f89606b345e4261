"""From files, pipes and iterables to windows of columns. The rules of what is valid stand in `rules`."""
