"""trainer.gpus and trainer.precision, on machines faked through torch's own questions."""

import os

import pytest
import torch

from segexp import devices
from segexp.devices import WORKSPACE, deterministic
from segexp.errors import ConfigError, DeviceError
from segexp.losses import CrossEntropy


def flags():
    cudnn = torch.backends.cudnn
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return (*modes, cudnn.deterministic, cudnn.benchmark, os.environ.get(WORKSPACE))


def test_the_flags_are_set_and_put_back(monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = flags()
    with deterministic(False):
        assert flags() == before
    with deterministic(True):
        assert flags() == (True, False, True, False, ":4096:8")
    assert flags() == before
    with pytest.raises(ZeroDivisionError), deterministic(True):
        _ = 1 / 0
    assert flags() == before


@pytest.mark.parametrize(("given", "used"), [(":16:8", ":16:8"), (":0:0", ":4096:8")])
def test_a_workspace_of_the_users_own(monkeypatch, given, used):
    monkeypatch.setenv(WORKSPACE, given)
    with deterministic(True):
        assert os.environ[WORKSPACE] == used
    assert os.environ[WORKSPACE] == given


def test_an_operation_that_cannot_is_named():
    with pytest.raises(ConfigError) as caught, deterministic(True):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    text = str(caught.value)
    assert text.startswith("trainer.deterministic=true, and the operation put_ has no deterministic algorithm here (torch ")
    assert text.endswith(
        "A network and a loss were expected whose operations all repeat themselves bit for bit. Type "
        "trainer.deterministic=false: order, augmentation and weights still follow from the seed; or trainer.gpus=0, or "
        "another model or loss."
    )


def test_an_operation_of_a_gpu_is_said_to_be_one():
    text = "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set 'torch.use_...'"
    words = r"operation adaptive_avg_pool2d_backward_cuda has no deterministic algorithm on this GPU"
    with pytest.raises(ConfigError, match=words), deterministic(True):
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="out of memory"), deterministic(True):
        raise RuntimeError("out of memory")


def test_the_loss_adds_up_in_an_order_of_its_own_only_then():
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 3, 40, 40), torch.randint(0, 3, (2, 40, 40))
    mask[0, :5] = 255
    loss = CrossEntropy(class_weights=[0.2, 0.3, 0.5], label_smoothing=0.1)
    usual = loss(logits, mask)
    with deterministic(True):
        torch.testing.assert_close(loss(logits, mask), usual)
        assert loss(logits, torch.full_like(mask, 255)) == 0


@pytest.fixture
def machine(monkeypatch):
    """Fake the visible devices, the GPU's compute capability and the CPU's features."""

    def fake(cuda=0, mps=False, capability=(8, 0), flags=()):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset(flags))

    return fake


@pytest.mark.parametrize(
    ("cuda", "mps", "gpus", "expected"),
    [
        (2, False, "auto", ("cuda", 1)),
        (1, True, "auto", ("cuda", 1)),
        (0, True, "auto", ("mps", 1)),
        (0, False, "auto", ("cpu", 1)),
        (2, True, 0, ("cpu", 1)),
        (2, False, [], ("cpu", 1)),
        (2, False, 2, ("cuda", 2)),
        (4, False, [1, 3], ("cuda", [1, 3])),
        (0, True, 1, ("mps", 1)),
    ],
)
def test_devices_are_mapped(machine, cuda, mps, gpus, expected):
    machine(cuda=cuda, mps=mps)
    assert devices.choose_devices(gpus) == expected


def test_gpu_asked_for_where_none_is_says_what_to_type(machine):
    machine()
    with pytest.raises(DeviceError) as caught:
        devices.choose_devices(1)
    text = str(caught.value)
    assert text.startswith("trainer.gpus=1 asks for 1 GPU. There are no CUDA GPUs visible to torch " + torch.__version__)
    assert "built for" in text
    assert text.endswith("Type trainer.gpus=0 for the CPU, or trainer.gpus=auto.")
    assert caught.value.exit_code == 1


def test_more_gpus_than_visible_offers_the_visible_count(machine):
    machine(cuda=1)
    with pytest.raises(DeviceError, match=r"asks for 3 GPUs\. There is 1 CUDA GPU visible .*Type trainer\.gpus=1, or"):
        devices.choose_devices(3)


@pytest.mark.parametrize(("gpus", "named"), [([0, 5], "GPU 5"), ([-1], "GPU -1"), ([1, 1], "GPU 1, 1")])
def test_foreign_and_repeated_ids_are_named(machine, gpus, named):
    machine(cuda=2)
    with pytest.raises(DeviceError, match=named):
        devices.choose_devices(gpus)


def test_apple_gpu_is_mentioned(machine):
    machine(mps=True)
    with pytest.raises(DeviceError, match=r"and one Apple GPU\. Type trainer\.gpus=1, or"):
        devices.choose_devices(2)


@pytest.mark.parametrize("gpus", [-1, True, "all", 1.5])
def test_nonsense_is_refused(machine, gpus):
    machine(cuda=2)
    with pytest.raises(DeviceError, match="It is auto, 0, a count, or a list of ids"):
        devices.choose_devices(gpus)


@pytest.mark.parametrize(
    ("accelerator", "capability", "flags", "expected"),
    [
        ("cuda", (9, 0), (), "bf16-mixed"),
        ("cuda", (8, 0), (), "bf16-mixed"),
        ("cuda", (7, 5), ("avx512_bf16",), "16-mixed"),
        ("cpu", (9, 0), ("amx_bf16", "avx2"), "bf16-mixed"),
        ("cpu", (9, 0), ("avx512_bf16",), "bf16-mixed"),
        ("cpu", (9, 0), ("avx2", "avx512f"), "32"),
        ("mps", (9, 0), ("avx512_bf16",), "32"),
    ],
)
def test_auto_precision_follows_the_hardware(machine, accelerator, capability, flags, expected):
    machine(cuda=1, capability=capability, flags=flags)
    assert devices.choose_precision("auto", accelerator) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("32", "32"), (32, "32"), ("bf16-mixed", "bf16-mixed"), ("16-mixed", "16-mixed")],
)
def test_stated_precision_is_kept(machine, asked, expected):
    machine()
    assert devices.choose_precision(asked, "cpu") == expected


def test_flags_from_torch_leave_out_absent_features(monkeypatch):
    answer = {"avx2": True, "amx_bf16": False, "cpu_name": "X", "num_sockets": 1}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: answer, raising=False)
    assert devices.cpu_flags() == {"avx2"}


def test_flags_from_the_system_where_torch_does_not_tell(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu amx_bf16 avx2\nprocessor\t: 1\nflags\t\t: other\n")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(devices, "Path", lambda _: info)
    assert devices.cpu_flags() == {"fpu", "amx_bf16", "avx2"}
    info.write_text("Hardware : something else\n")
    assert devices.cpu_flags() == frozenset()
    info.unlink()
    assert devices.cpu_flags() == frozenset()


@pytest.mark.parametrize(
    ("cores", "accelerator", "expected"),
    [(2, "cpu", 0), (64, "cpu", 0), (1, "cuda", 0), (2, "cuda", 1), (8, "cuda", 7), (64, "mps", 16)],
)
def test_auto_workers_leave_the_cores_to_a_network_on_the_cpu(monkeypatch, cores, accelerator, expected):
    monkeypatch.setattr(devices, "usable_cores", lambda: cores)
    assert devices.choose_workers("auto", accelerator) == expected
    assert devices.choose_workers(3, accelerator) == 3


@pytest.mark.parametrize(
    ("text", "expected"), [("200000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 8), ("9900000 100000", 8)]
)
def test_usable_cores_respect_affinity_and_control_group(monkeypatch, tmp_path, text, expected):
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    monkeypatch.setattr(devices, "Path", lambda _: quota)
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert devices.usable_cores() == expected
    quota.unlink()
    assert devices.usable_cores() == 8


@pytest.mark.parametrize(
    ("cuda", "hip", "words"),
    [("13.2", None, "built for CUDA 13.2"), (None, "6.4", "built for ROCm 6.4"), (None, None, "built for the CPU only")],
)
def test_the_torch_build_is_named(monkeypatch, cuda, hip, words):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert devices.torch_build() == f"torch {torch.__version__}, {words}"


def test_the_chosen_device_in_words(monkeypatch):
    monkeypatch.setattr(devices, "usable_cores", lambda: 6)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    assert devices.describe_device("cpu", 1) == "CPU, 6 cores"
    assert devices.describe_device("mps", 1) == "Apple GPU"
    assert devices.describe_device("cuda", 2) == "2 x GPU 0"
    assert devices.describe_device("cuda", [3]) == "1 x GPU 3"
