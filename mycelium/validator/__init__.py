"""What a validator calls on miners, in the shape of the Fiber library. Reserved: holds no code in this version."""
