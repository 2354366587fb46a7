#!/usr/bin/env python3
"""Makes an OCI image of the filter in the form in which Istio fetches modules.

    wasm-image.py MODULE DIRECTORY

leaves an OCI image layout in DIRECTORY, which any tool can push to a registry, such as

    skopeo copy oci:DIRECTORY docker://registry.example/serin-filter:0.1.0
    crane push DIRECTORY registry.example/serin-filter:0.1.0

It is the "compat" variant of the Wasm image specification: an ordinary image whose only layer has `plugin.wasm` in it, so that every registry
takes it. The same module gives the same digest, always and everywhere: there are no times in it, and the layer is packed without compression,
because compressors differ from version to version. The digest is printed; pin it with `url: oci://registry.example/serin-filter@sha256:...`.
"""

import hashlib
import io
import json
import pathlib
import struct
import sys
import tarfile
import zlib

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# The name that Istio looks for.
PLUGIN = "plugin.wasm"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(module: bytes) -> bytes:
    """An archive with the module in it, of nobody and of no time."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as out:
        entry = tarfile.TarInfo(PLUGIN)
        entry.size = len(module)
        entry.mode = 0o444
        out.addfile(entry, io.BytesIO(module))
    return archive.getvalue()


def gzip(data: bytes) -> bytes:
    """The gzip format (RFC 1952) around stored blocks (RFC 1951, 3.2.4): the one output on which all compressors agree."""
    size = 0xFFFF
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    out = bytearray(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    for number, block in enumerate(blocks, 1):
        out += struct.pack("<BHH", number == len(blocks), len(block), len(block) ^ 0xFFFF) + block
    return bytes(out + struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF))


class Layout:
    """An OCI image layout, written blob by blob."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    def blob(self, media_type: str, data: bytes) -> dict:
        """Writes a blob and gives its descriptor."""
        name = digest(data)
        (self.directory / "blobs" / name.replace(":", "/")).write_bytes(data)
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    def index(self, manifest: dict) -> None:
        self.json("index.json", {"schemaVersion": 2, "manifests": [manifest]})
        self.json("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def json(self, name: str, value: dict) -> None:
        (self.directory / name).write_bytes(encode(value))


def encode(value: dict) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} MODULE DIRECTORY")
    module = pathlib.Path(sys.argv[1]).read_bytes()
    if not module.startswith(b"\0asm"):
        sys.exit(f"{sys.argv[1]}: not a WebAssembly module")
    layout = Layout(pathlib.Path(sys.argv[2]))
    archive = tar(module)
    config = {
        "architecture": "wasm",
        "os": "wasip1",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(archive)]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.blob(CONFIG, encode(config)),
        "layers": [layout.blob(LAYER, gzip(archive))],
        "annotations": {
            "org.opencontainers.image.title": "serin-filter",
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    }
    described = layout.blob(MANIFEST, encode(manifest))
    layout.index(described)
    print(described["digest"])


main()
