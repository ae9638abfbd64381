"""Presence as the RFCs have it (SIMPLE): RFC 3856, RFC 3903, RFC 3863."""
