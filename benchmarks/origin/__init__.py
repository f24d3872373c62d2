"""The replay server: a project of prepared bytes, handed out in W&B's protocol to any client.

It runs in a process of its own, whose CPU is counted apart. It does nothing while it answers but
put prepared pieces together, so that what is measured is the client.
"""
