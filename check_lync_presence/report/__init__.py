"""What a run looks like to a person: text, and nothing that was not cleaned."""
