#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unpacks the parts of torch's and NVIDIA's wheels that a C++ program needs.

    unpack_libtorch.py cpu|cuda WHEEL_FOLDER TARGET_FOLDER

Every wheel is deleted once it is unpacked, so that both never fill the disk together.
"""
import pathlib
import re
import shutil
import sys
import zipfile

HEADERS = r"torch/include/.*"
LICENCES = r"[^/]+\.dist-info/(licenses/.*|[^/]*(LICENSE|License|NOTICE)[^/]*)"
WANTED = {
    "cpu": rf"{HEADERS}|{LICENCES}|torch/lib/(libtorch_cpu\.so|libc10\.so|libgomp[^/]*)"
           r"|nvidia/.*/lib/(libcudart|libcupti)\.so\.\d+",
    "cuda": rf"{HEADERS}|{LICENCES}|torch/lib/lib(?!torch_python|shm)[^/]*\.so[^/]*"
            r"|nvidia/.*/lib/[^/]*\.so[^/]*|nvidia/cu\d+/include/.*",
}


def target_of(name: str) -> str:
    """Licences go to licenses/PACKAGE-VERSION/; everything else keeps its place, which the RPATHs rely on."""
    package, separator, rest = name.partition(".dist-info/")
    return f"licenses/{package}/{rest.removeprefix('licenses/')}" if separator else name


def unpack(wheel: pathlib.Path, wanted: str, target: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.is_dir() or not re.fullmatch(wanted, entry.filename):
                continue
            path = target / target_of(entry.filename)
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, open(path, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    wheel.unlink()


def main() -> int:
    flavour, wheels, target = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    try:
        for wheel in sorted(wheels.glob("*.whl")):
            unpack(wheel, WANTED[flavour], target)
    except (OSError, zipfile.BadZipFile) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
