"""The simulator: a server that implements the targets' APIs, keeps memberships and misbehaves on request.

It is written from the vendors' documents, and shares no encoding code with the client, so that the two can disagree.
Its core is `World.handle(request, now)`, which is pure except for its own state; the server and the tests' in-memory
transport both call it.
"""
