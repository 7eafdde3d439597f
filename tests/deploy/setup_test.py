# SPDX-License-Identifier: Apache-2.0
"""deploy/setup.sh where something is missing or fails: stand-ins for commands come first on PATH, and a package index
of tiny wheels takes the place of the real one. deploy/test.sh has run the real thing before any test."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import zipfile

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
WHEELS = {
    "torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl": [
        "torch/include/ATen/ATen.h", "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1",
        "torch/lib/libtorch_cuda.so", "torch/__init__.py", "torch-2.15.0.dist-info/licenses/LICENSE"],
    "nvidia_cuda_runtime-13.2.86-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl": [
        "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/include/cuda.h",
        "nvidia_cuda_runtime-13.2.86.dist-info/License.txt"],
    "nvidia_cuda_cupti-13.2.86-py3-none-manylinux_2_25_x86_64.whl": [
        "nvidia/cu13/lib/libcupti.so.13", "nvidia/cu13/lib/libnvperf_host.so"],
}


class SetupTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.cache = self.folder / "cache"
        self.deploy = self.folder / "deploy"
        shutil.copytree(DEPLOY, self.deploy, ignore=shutil.ignore_patterns("demo_model"))
        self.commands = self.folder / "bin"
        self.commands.mkdir()
        self.stand_in("dpkg-query", "echo installed")
        self.stand_in("apt-get", "exit 99")

    def stand_in(self, command, script):
        path = self.commands / command
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def only_commands(self, *names):
        """Leaves nothing on PATH but the stand-ins and these."""
        for name in names:
            (self.commands / name).symlink_to(shutil.which(name))
        return {"PATH": str(self.commands)}

    def run_setup(self, *arguments, **environment):
        env = {key: value for key, value in os.environ.items()
               if key not in ("CMAKE_PREFIX_PATH", "MTM_CUDA") and not key.startswith("PIP_")}
        env.update(PATH=f"{self.commands}:{env['PATH']}", MTM_CACHE_DIR=str(self.cache), TMPDIR=str(self.folder),
                   PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1", PIP_CONFIG_FILE=os.devnull)
        env.update(environment)
        return subprocess.run([shutil.which("bash"), self.deploy / "setup.sh", *arguments], env=env, text=True,
                              capture_output=True, timeout=100, stdin=subprocess.DEVNULL)

    def make_index(self, pin=True):
        """A folder of tiny wheels for pip; pinned by their real hashes unless told."""
        index = self.folder / "index"
        index.mkdir()
        requirements = []
        for name, members in WHEELS.items():
            with zipfile.ZipFile(index / name, "w") as wheel:
                for member in members:
                    wheel.writestr(member, member)
                project, version = name.split("-")[:2]
                wheel.writestr(f"{project}-{version}.dist-info/METADATA",
                               f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
                wheel.writestr(f"{project}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\n")
            digest = hashlib.sha256((index / name).read_bytes()).hexdigest()
            requirements.append(f"{project.replace('_', '-')}=={version} --hash=sha256:{digest}\n")
        if pin:
            (self.deploy / "libtorch-requirements.txt").write_text("".join(requirements))
        return {"PIP_FIND_LINKS": str(index), "PIP_NO_INDEX": "1"}

    def assert_refused(self, result, *words):
        self.assertEqual(result.returncode, 1, result)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("error: "), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertFalse(self.cache.exists() and [p.name for p in self.cache.iterdir() if p.name != ".lock"])

    def test_unpacks_what_a_cpu_needs_and_nothing_else(self):
        index = self.make_index()
        result = self.run_setup(**index)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        tree = self.cache / "libtorch-2.15.0-cpu"
        self.assertEqual(sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()), [
            "licenses/nvidia_cuda_runtime-13.2.86/License.txt", "licenses/torch-2.15.0/LICENSE",
            "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13", "torch/include/ATen/ATen.h",
            "torch/lib/libc10.so", "torch/lib/libgomp.so.1", "torch/lib/libtorch_cpu.so"])
        self.assertIn(f"-DCMAKE_PREFIX_PATH={tree}/torch", result.stdout)
        self.assertEqual({path.name for path in self.cache.iterdir()}, {".lock", "libtorch-2.15.0-cpu"})
        self.assertFalse(list(self.folder.glob("mtm-*.log")))
        again = self.run_setup()
        self.assertEqual((again.returncode, again.stderr), (0, ""), "the second run downloads nothing")

    def test_what_an_interrupted_run_left_is_removed(self):
        (self.cache / ".fetch.old" / "wheels").mkdir(parents=True)
        self.assertEqual(self.run_setup(**self.make_index()).returncode, 0)
        self.assertFalse((self.cache / ".fetch.old").exists())

    def test_a_wheel_of_another_hash_is_refused(self):
        self.assert_refused(self.run_setup(**self.make_index(pin=False)), "does not have the pinned hash")

    def test_a_wheel_that_is_no_archive_is_refused(self):
        index = self.make_index()
        unpack = self.deploy / "unpack_libtorch.py"
        unpack.write_text("import sys\nprint('[Errno 28] No space left on device', file=sys.stderr)\nsys.exit(1)\n")
        self.assert_refused(self.run_setup(**index), "unpacking LibTorch", "the disk is full")

    def test_no_network_is_one_sentence(self):
        self.assert_refused(self.run_setup(), "downloading LibTorch", "the network cannot be reached")

    def test_a_disk_without_room_is_refused_before_the_download(self):
        self.stand_in("df", "echo Filesystem; echo none 9999 8888 1111 88% /")
        self.assert_refused(self.run_setup(), "too full", "1111 MB", "MTM_CACHE_DIR")

    def test_a_cache_that_cannot_be_made_is_named(self):
        self.assert_refused(self.run_setup(MTM_CACHE_DIR="/proc/nowhere"), "/proc/nowhere", "MTM_CACHE_DIR")

    def test_other_processors_are_told_what_to_do(self):
        self.stand_in("uname", "echo Linux aarch64")
        self.assert_refused(self.run_setup(), "Linux aarch64", "CMAKE_PREFIX_PATH")

    def test_a_libtorch_on_the_prefix_path_is_taken(self):
        library = self.folder / "own" / "lib" / "libtorch_cpu.so"
        library.parent.mkdir(parents=True)
        library.touch()
        result = self.run_setup(CMAKE_PREFIX_PATH=f"/nowhere:{self.folder}/own")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertFalse(self.cache.exists())

    def test_without_apt_it_names_what_is_missing(self):
        for command in ("apt-get", "dpkg-query"):
            (self.commands / command).unlink()
        path = self.only_commands("bash", "dirname", "tr", "cmake", "python3", "mktemp")
        result = self.run_setup(CMAKE_PREFIX_PATH=str(self.folder), **path)
        self.assert_refused(result, "no apt", "ninja-build", "protobuf-compiler-grpc", "g++")
        self.assertNotIn("cmake", result.stderr)

    def test_without_root_it_says_what_root_should_run(self):
        self.stand_in("dpkg-query", '[ "$4" = ccache ] || echo installed')
        self.stand_in("id", "echo 1000")
        self.stand_in("sudo", "exit 1")
        self.assert_refused(self.run_setup(), "takes root", "apt-get install --no-install-recommends ccache")

    def test_what_apt_says_becomes_one_sentence(self):
        self.stand_in("dpkg-query", '[ "$4" = ccache ] || echo installed')
        self.stand_in("id", "echo 0")
        for said, sentence in {
            "E: You don't have enough free space in /var/cache/apt/archives/.": "the disk is full",
            "E: Failed to fetch http://x/y.deb  Could not connect to x": "the network cannot be reached",
            "E: Unable to locate package ccache": "apt does not know ccache",
            "dpkg: error processing package ccache (--configure):": "dpkg cannot install ccache",
        }.items():
            self.stand_in("apt-get", f'[ "$1" = update ] && exit 100; echo "{said}"; exit 100')
            with self.subTest(said):
                self.assert_refused(self.run_setup(), "installing Debian packages", sentence)


if __name__ == "__main__":
    unittest.main()
