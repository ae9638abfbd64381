"""What every SIP server speaks: messages, framing, addresses, transactions, dialogs.

Bytes in, values out: nothing here knows a socket, a clock or a random source.
"""
