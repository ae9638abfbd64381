"""What only Lync and Skype for Business speak: security associations (MS-SIPAE), NTLM, enhanced presence (MS-PRES).

Values in, values out: nothing here knows a socket, a clock or a random source of its own.
"""
