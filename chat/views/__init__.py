"""The pages of the chat. consumers.py writes answers over the websocket; these views serve the pages around them."""
