"""The agent's turn: a message comes in, an agent works in the sandbox's live kernel, events and cells come out.

``service.ChatService`` is the door. Above stand the HTTP handlers; below stand transcripts (which record the
cells) and sandboxes (which run the code). Nothing here imports pydantic-ai before a turn needs a model.
"""
