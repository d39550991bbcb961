"""The signed HTTP protocol between validators and miners, both wire versions of it, apart from any web framework."""
