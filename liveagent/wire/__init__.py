"""Wire: protocols that people's clients speak. Bytes to what a conversation is asked, what it does to bytes.

Every codec is sans-I/O and pure: it opens nothing, reads no clock and knows no session. The conversation behind it
knows no protocol. One file (or two) a protocol; a new one is one more `Codec` (`codec.py`).
"""
