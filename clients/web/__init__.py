"""The web page: static files that a server hands out as they are. Nothing here is Python, and nothing is built.

`index.html` is the page; `client.js` is what another page imports to talk to the same server. Every address in them is
relative, and nothing is asked of anybody but the server that the page came from.
"""
