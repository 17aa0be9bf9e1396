"""What is read from llama.cpp's lines."""

from __future__ import annotations

from server.engine.logs import cause, is_out_of_memory, read_buffers, read_offload
from server.messages.frames import Buffer

MIB = 1024 * 1024
LINES = [
    "load_tensors: offloaded 25/29 layers to GPU",
    "load_tensors:        CUDA0 model buffer size =  3584.25 MiB",
    "load_tensors:   CPU_Mapped model buffer size =   308.23 MiB",
    "llama_context:  CUDA_Host  output buffer size =     0.58 MiB",
    "llama_kv_cache:      CUDA0 KV buffer size =   448.00 MiB",
    "llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB",
    "sched_reserve:      CUDA0 compute buffer size =   311.22 MiB",
    "llama_memory_recurrent:        CPU RS buffer size =     2.00 MiB",
    "load:      CUDA0 LoRA buffer size =     1.00 MiB",
    "srv: nothing to see",
]


def test_buffers_per_device_and_kind() -> None:
    buffers = {(buffer.device, buffer.kind): buffer for buffer in read_buffers(LINES, ["CUDA0"])}
    assert buffers["CUDA0", "weights"] == Buffer(
        device="CUDA0", kind="weights", bytes=round(3585.25 * MIB), is_gpu=True
    )
    assert buffers["CUDA0", "kv"].bytes == 512 * MIB
    assert buffers["CPU", "kv"].bytes == 2 * MIB
    assert not buffers["CPU_Mapped", "weights"].is_gpu
    assert not buffers["CUDA_Host", "output"].is_gpu, "pinned memory of the machine"
    assert buffers["CUDA0", "compute"].is_gpu


def test_layers_on_gpus() -> None:
    assert read_offload(LINES) == (25, 29)
    assert read_offload([]) == (0, 0)


def test_the_cause_is_the_first_line_that_says_something() -> None:
    lines = [
        "llama_model_load: error loading model: tensor 'x' data is not within the file bounds",
        "llama_model_load_from_file_impl: failed to load model",
    ]
    assert cause(lines) == "tensor 'x' data is not within the file bounds"
    assert cause(["llama_model_load_from_file_impl: failed to load model"]) == "failed to load model"
    assert cause([]) == ""


def test_out_of_memory_is_recognised() -> None:
    assert is_out_of_memory("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory")
    assert is_out_of_memory("unable to allocate: ErrorOutOfDeviceMemory OUT OF MEMORY")
    assert not is_out_of_memory("tensor not found")
