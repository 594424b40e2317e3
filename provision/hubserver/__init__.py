"""A local server the Hugging Face Hub client works against: `shardfleet hub serve DIR`.

Needs the extra `hub` (starlette, uvicorn); nothing else in the package imports from here.
"""

from provision.hubserver.app import create_app
from provision.hubserver.serve import serve

__all__ = ["create_app", "serve"]
