"""The real chain without a server: `trimtab explain` and `trimtab replay`."""
