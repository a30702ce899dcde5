"""Namespaces of devices that are not there: questions are answered, blocks of nothing pass, everything else is refused in PyTorch's words."""

import importlib.util

import pytest

import flambeau as torch


def answer(fn, *args):
    try:
        return fn(*args)
    except Exception as error:
        return type(error), str(error)


QUESTIONS = {
    "cuda": ["torch.cuda.host_memory_stats_as_nested_dict()", "torch.cuda.memory_stats_as_nested_dict()", "torch.cuda.caching_allocator_enable()",
             "torch.cuda.current_solver_handle()", "torch.cuda.cudaStatus.ERROR_NOT_READY", "torch.cuda.amp.amp_definitely_not_available()"],
    "xpu": ["torch.xpu.get_arch_list()", "torch.xpu.get_gencode_flags()", "torch.xpu.is_tf32_supported()", "torch.xpu.memory_snapshot()", "torch.xpu.MemPool()",
            "torch.xpu.device(0).__enter__()", "torch.xpu.StreamContext(None).__enter__()", "torch.xpu.get_per_process_memory_fraction()"],
    "mps": ["torch.mps.compile_shader('x')"],
    "mtia": ["torch.mtia.MTIAGraph()", "torch.mtia.seed()", "torch.mtia.get_rng_state_all()", "torch.mtia.is_bf16_supported()", "torch.mtia.record_memory_history()"],
    "accelerator": ["torch.accelerator.Graph()", "torch.accelerator.empty_host_cache()"],
    "cpu": ["torch.cpu.Event().query()", "torch.cpu.Event().wait()"],
    "backends": ["torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()", "torch.backends.cuda.cufft_plan_cache[0]", "torch.backends.cuda.cufft_plan_cache.size",
                 "torch.backends.cuda.is_ck_sdpa_available()", "torch.backends.mkldnn.matmul.fp32_precision", "torch.backends.cudnn.conv.fp32_precision",
                 "torch.backends.cudnn.depthwise_kernel", "setattr(torch.backends.mkldnn.conv, 'fp32_precision', 'x')", "setattr(torch.backends.cuda.matmul, 'x', 1)",
                 "setattr(torch.backends.cuda.matmul, 'allow_fp16_reduced_precision_reduction', 3)", "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction_split_k",
                 "torch.version.rocm"],
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_are_pytorchs(name):
    real = pytest.importorskip("torch")
    for text in QUESTIONS[name]:
        got, expected = (answer(eval, text, {"torch": t}) for t in (torch, real))
        assert got == expected, text


def test_blocks_of_nothing():
    with (
        torch.xpu.stream(None),
        torch.mtia.stream(None),
        torch.cuda.stream(None),
        torch.xpu.device(-1),
        torch.mtia.device(None),
    ):
        with torch.cuda.caching_allocator_disabled(), torch.accelerator.device_index(None):
            pass
    with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled"), torch.cuda.use_mem_pool(None):
        pass


@pytest.mark.skipif(importlib.util.find_spec("pynvml") is not None, reason="the package is there")
def test_sensors_ask_for_their_package():
    with pytest.raises(ModuleNotFoundError, match="nvidia-ml-py"):
        torch.cuda.utilization()
    assert torch.cuda.list_gpu_processes() == "pynvml module not found, please install nvidia-ml-py"
    with pytest.raises(ImportError, match="pyzes is required"):
        torch.xpu.power_draw()


def test_settings_of_products():
    matmul = torch.backends.cuda.matmul
    matmul.allow_bf16_reduced_precision_reduction = (False, False)
    assert not matmul.allow_bf16_reduced_precision_reduction_split_k
    matmul.allow_bf16_reduced_precision_reduction = True
    assert matmul.allow_bf16_reduced_precision_reduction_split_k
    q = torch.ones(1, 1, 4, 4)
    params = torch.backends.cuda.SDPAParams(q, q, q, None, 0.0, False, False)
    assert not torch.backends.cuda.can_use_flash_attention(params)
