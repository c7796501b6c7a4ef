"""The classes that the ``type=`` of a config names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.registry import Registry


def find_class(kind: Any, registry: Registry) -> type | None:
    """Find the class of a ``type=``: a class, or a name with or without its scope."""
    return registry.get(kind) if isinstance(kind, str) else kind
