"""A small HTTP server for a trained run: JSON in and out, and a page to try it with.

requests.py reads and checks what is asked, batching.py puts the texts of simultaneous requests together, answers.py
translates them in one thread, app.py is the application, page.py its page, and server.py listens and stops.
"""
