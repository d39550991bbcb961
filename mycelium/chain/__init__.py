"""Reading and writing the Bittensor chain. Reserved: holds no code in this version.

Membership comes from a members file (`mycelium.metagraph.membership.StaticSource`) until this package provides a
`Source` of its own.
"""
