"""The stages that come with trimtab, each behind an entry point of the group ``trimtab``."""
