"""What `mycelium doctor` looks at: each check a function of its own that says what it found and what to do about it."""
