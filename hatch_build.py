"""Compiles proto/*.proto into authz/pb at build time, so that no generated code is kept in git."""

from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileProtos(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        sources = sorted(str(path) for path in (root / "proto").glob("*.proto"))
        out = root / "authz" / "pb"
        arguments = ["protoc", f"-I{root / 'proto'}", f"--python_out={out}", f"--pyi_out={out}"]
        # The well-known types (Struct) come with grpcio-tools.
        include = Path(protoc.__file__).parent / "_proto"
        if protoc.main([*arguments, f"-I{include}", *sources]) != 0:
            raise RuntimeError("protoc failed on proto/*.proto")
