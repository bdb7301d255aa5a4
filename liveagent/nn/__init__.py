"""Networks: torch modules with their state passed in, for all lanes at once.

Shape letters, used in every docstring here: B lanes, T time, D width, H heads, F mel bins, V pieces (the blank
counted), N patches, S samples.
"""
