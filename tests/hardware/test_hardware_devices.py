"""The list of devices as the engine prints it."""

from __future__ import annotations

import pytest

from server.hardware.devices import library_of, read_listing

ROWS = [
    {"index": 0, "name": "CUDA0", "description": "NVIDIA H200", "type": "gpu", "memory_free": 5, "memory_total": 9,
     "id": "0000:1B:00.0"},
    {"index": 1, "name": "Vulkan0", "description": "Some iGPU", "type": "igpu", "memory_free": 1, "memory_total": 2,
     "id": ""},
    {"index": 2, "name": "CPU", "description": "a processor", "type": "cpu", "memory_free": 1, "memory_total": 2,
     "id": ""},
]  # fmt: skip


def test_gpus_keep_their_place_in_the_list() -> None:
    cuda, vulkan = read_listing(ROWS)
    assert (cuda.index, cuda.pool, cuda.library, cuda.pci_id) == (0, "gpu0", "CUDA", "0000:1b:00.0")
    assert (cuda.free_bytes, cuda.total_bytes, cuda.is_integrated) == (5, 9, False)
    assert (vulkan.index, vulkan.library, vulkan.is_integrated) == (1, "Vulkan", True)


def test_rows_of_another_form_are_refused() -> None:
    with pytest.raises(KeyError):
        read_listing([{"type": "gpu"}])


@pytest.mark.parametrize(
    ("name", "library"),
    [("CUDA12", "CUDA"), ("ROCm0", "ROCm"), ("MTL0", "Metal"), ("Metal", "Metal"), ("SYCL1", "SYCL")],
)
def test_libraries(name: str, library: str) -> None:
    assert library_of(name) == library
