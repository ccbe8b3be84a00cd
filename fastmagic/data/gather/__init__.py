"""From words to a folder of photos: search, fetch, check, shrink, and a record of where each photo came from."""
