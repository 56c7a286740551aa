"""The pages of the chat. Answers are written over the websocket (consumers.py); here is what surrounds them."""
