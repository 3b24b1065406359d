"""The resolvers of overlay and aufs decide which version of a name a stack shows."""
