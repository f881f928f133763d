"""Inference sessions, one class per runtime."""

import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from .errors import ModelFileError
from .ncnn_session import NcnnSession
from .openvino_bf16 import keep_boxes_in_f32

if TYPE_CHECKING:
    import openvino

ONNX_BACKENDS = ('onnxruntime', 'openvino')
BACKENDS = (*ONNX_BACKENDS, 'ncnn')
PRECISIONS = ('f32', 'bf16')
# Of those that the build of ONNX Runtime has. TensorRT, which GPU builds list first, builds an engine for minutes.
DEFAULT_PROVIDERS = ('CUDAExecutionProvider', 'CPUExecutionProvider')
Outputs = Tuple[np.ndarray, np.ndarray, np.ndarray]


def _reason(error: Exception) -> str:
    """Return the last line of an error, which has the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class OnnxRuntimeSession:
    """A graph in ONNX Runtime. It can be shared between threads.

    Args:
        path (Path): The ONNX file.
        threads (int, optional): Threads of an operator; None leaves it to the runtime. Defaults to
            None.
        providers (sequence[str], optional): ONNX Runtime's execution providers, the preferred one first. Defaults to
            None: CUDA where the build has it, otherwise the CPU.

    Attributes:
        name (str): Name and version of the runtime.
        metadata (dict[str, str]): What the exporter wrote about the detector.
        input_shape (list): Sizes of the input, (N, H, W, C); None where a size is free.

    Raises:
        ModelFileError: If ONNX Runtime cannot load the file.
        ValueError: If the build has no such provider.
    """

    def __init__(self, path: Path, threads: Optional[int] = None, providers: Optional[Sequence[str]] = None) -> None:
        import onnxruntime

        available = onnxruntime.get_available_providers()
        unknown = [name for name in providers or () if name not in available]
        if unknown:
            raise ValueError(
                f'providers: this build of ONNX Runtime has no {unknown[0]}; it has {", ".join(available)}'
            )

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=list(providers or [name for name in DEFAULT_PROVIDERS if name in available]),
            )
        # Its errors have a class for each status code, and Exception is what they have in common.
        except Exception as error:
            raise ModelFileError(f'{path}: not a graph that ONNX Runtime can load ({_reason(error)})') from None
        self._path = path
        self.name = f'ONNX Runtime {onnxruntime.__version__}'
        self.metadata: Dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._input = self._session.get_inputs()[0]
        self.input_shape: List[Optional[int]] = [size if isinstance(size, int) else None for size in self._input.shape]

    def run(self, images: np.ndarray) -> Outputs:
        """Run the graph.

        Args:
            images (np.ndarray): Images with shape (N, H, W, C), of the graph's input type.

        Returns:
            tuple[np.ndarray]: Boxes (N, M, 4), scores (N, M) and labels (N, M).

        Raises:
            ModelFileError: If the graph cannot run.
        """
        try:
            return tuple(self._session.run(None, {self._input.name: images}))
        except Exception as error:  # see above
            raise ModelFileError(f'{self._path}: ONNX Runtime cannot run it ({_reason(error)})') from None


@functools.lru_cache(maxsize=1)
def openvino_core() -> 'openvino.Core':
    """Return OpenVINO's entry point, one per process.

    Its CPU plugin gives the thread another stack for signals and takes it back at its own end (SigAltStackSetup,
    openvinotoolkit/openvino#11894). Of two that do not end in reverse order, the second leaves the thread with the
    first one's, which is gone: the next signal, such as a child's end, kills the process.
    """
    import openvino

    return openvino.Core()


class OpenVINOSession:
    """A graph in OpenVINO, on the CPU. It can be shared between threads.

    Args:
        path (Path): The ONNX file, or the .xml of OpenVINO's own format.
        threads (int, optional): As for :class:`OnnxRuntimeSession`. Defaults to None.
        precision (str): What is computed where the graph has float32: ``'f32'``, or ``'bf16'`` for the networks and
            float32 for the rest (:func:`keep_boxes_in_f32`). Defaults to ``'f32'``.

    The attributes are those of :class:`OnnxRuntimeSession`.

    Raises:
        ModelFileError: If OpenVINO cannot load the file.
        ValueError: If the processor has no bfloat16.
    """

    def __init__(self, path: Path, threads: Optional[int] = None, precision: str = 'f32') -> None:
        import openvino

        if precision == 'bf16':
            capabilities = openvino_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
            if 'BF16' not in capabilities:
                raise ValueError(
                    'precision: bf16 needs a processor with AVX512-BF16, AMX or AVX-NE-CONVERT; this one computes in '
                    f"{', '.join(name for name in capabilities if name.startswith(('FP', 'INT')))}; use 'f32'"
                )
        # On processors with bfloat16 units it would compute in bfloat16, which has 8 bits of significand, unasked.
        config = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': precision}
        if threads is not None:
            config['INFERENCE_NUM_THREADS'] = threads
        try:
            model = openvino_core().read_model(path)
            self._count = len(model.outputs)
            if precision == 'bf16':
                keep_boxes_in_f32(model)
            self._compiled = openvino_core().compile_model(model, 'CPU', config)
        except RuntimeError as error:
            raise ModelFileError(f'{path}: not a graph that OpenVINO can load ({_reason(error)})') from None
        self._path = path
        # The rest of its version names the build.
        self.name = f'OpenVINO {openvino.__version__.split("-")[0]}' + (precision != 'f32') * f', {precision}'
        info = model.get_rt_info()
        self.metadata: Dict[str, str] = {
            key: str(value.value if hasattr(value, 'value') else value)
            for key, value in (info['framework'] if 'framework' in info else {}).items()
        }
        self.input_shape: List[Optional[int]] = [
            size.get_length() if size.is_static else None for size in model.inputs[0].partial_shape
        ]
        # A request holds the inputs and outputs of one inference, so concurrent calls need one each.
        self._idle_requests: List[openvino.InferRequest] = []

    def run(self, images: np.ndarray) -> Outputs:
        """Run the graph; see :meth:`OnnxRuntimeSession.run`."""
        try:
            request = self._idle_requests.pop()  # atomic, as append is
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            outputs = request.infer([images], share_outputs=True).values()
            return tuple(np.array(output) for output in itertools.islice(outputs, self._count))
        except RuntimeError as error:
            raise ModelFileError(f'{self._path}: OpenVINO cannot run it ({_reason(error)})') from None
        finally:
            self._idle_requests.append(request)


Session = Union[OnnxRuntimeSession, OpenVINOSession, NcnnSession]


def open_session(
    path: Union[str, Path],
    backend: Optional[str] = None,
    threads: Optional[int] = None,
    providers: Optional[Sequence[str]] = None,
    precision: str = 'f32',
) -> Session:
    """Load a graph.

    Args:
        path (str or Path): The file.
        backend (str, optional): ``'onnxruntime'``, ``'openvino'`` or ``'ncnn'``; None takes the only one
            that can read the file, and for an ONNX file the first of the two that is installed.
            Defaults to None.
        threads (int, optional): Threads of an operator. Defaults to None, the runtime's choice.
        providers (sequence[str], optional): Execution providers of ONNX Runtime, which implies that backend; see
            :class:`OnnxRuntimeSession`. Defaults to None.
        precision (str): ``'bf16'`` implies OpenVINO, which alone gains from it; see :class:`OpenVINOSession`.
            Defaults to ``'f32'``.

    Returns:
        OnnxRuntimeSession, OpenVINOSession or NcnnSession: The session.

    Raises:
        FileNotFoundError: If there is no such file.
        ModelFileError: If the runtime cannot load it, or it is no file for this runtime.
        ImportError: If the runtime is not installed.
        ValueError: If there is no such backend, provider or precision, or not for this backend and processor.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such model file; tools/deployment/export_onnx.py writes one')
    sessions = dict(zip(BACKENDS, (OnnxRuntimeSession, OpenVINOSession, NcnnSession)))
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f'unknown backend {backend!r}; use one of {list(BACKENDS)}')
    if providers:
        if backend not in (None, 'onnxruntime'):
            raise ValueError(f"providers: {backend} has none; leave them out or use backend 'onnxruntime'")
        backend = 'onnxruntime'
        sessions[backend] = functools.partial(OnnxRuntimeSession, providers=providers)
    candidates = [backend] if backend else {'.xml': ['openvino'], '.json': ['ncnn']}.get(path.suffix, ONNX_BACKENDS)
    if precision not in PRECISIONS:
        raise ValueError(f'unknown precision {precision!r}; use one of {list(PRECISIONS)}')
    if precision != 'f32':
        if 'openvino' not in candidates:
            raise ValueError(
                f"precision: {precision} is for ONNX files in backend 'openvino', not for {candidates[0]}; use 'f32'"
            )
        candidates = ['openvino']
        sessions['openvino'] = functools.partial(OpenVINOSession, precision=precision)
    for candidate in candidates:
        try:
            return sessions[candidate](path, threads)
        except ImportError as error:
            if error.name != candidate:
                raise
    raise ImportError(f'{path}: needs {" or ".join(candidates)}; pip install {candidates[0]}')
