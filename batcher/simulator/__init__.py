"""The other side: a server that speaks the targets' dialects, keeps membership and misbehaves on request.

Written from the vendors' documents. It shares no encoding code with the client, so that the two can disagree.
Its heart is `World.handle(request, now)`, pure but for its own state; the server and the tests' in-memory
transport both call it.
"""
