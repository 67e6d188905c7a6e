"""The demonstration: a live tunnel that moves to a new address, with every packet counted.

It uses pfkeyx as any program would, and proves the result by its own sockets on the wire and not by pfkeyx's
word. Nothing in pfkeyx may need anything from here, except the command that starts it.
"""
