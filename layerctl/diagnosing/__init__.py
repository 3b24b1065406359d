"""Why a mount fails or would fail, and what to do about it."""
