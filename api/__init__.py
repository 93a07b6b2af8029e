"""The HTTP face of Poststream. Import from its modules; this package itself imports nothing."""
