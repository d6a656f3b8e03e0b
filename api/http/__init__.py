"""The HTTP service: one router a file, put together in `app.py` and run by `server.py`.

What a route does is done by `api/service.py`; routers translate. Nothing here knows of the command line.
INVARIANT: every route but `/v1/health` asks for the key, and every error is a problem of RFC 9457.
"""
