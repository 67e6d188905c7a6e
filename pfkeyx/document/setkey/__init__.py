"""Scripts of setkey (ipsec-tools), which were written for PF_KEY: read, and done over either interface.

A script means what setkey on Linux makes of it. What Linux refuses is refused here too, by name; what it passes over in
silence is a warning. Other than setkey, which goes on after an error, a script is done as a whole or not at all.
"""
