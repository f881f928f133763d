"""What the tools can run an exported file with, by name: a runtime, or a runtime in another precision than float32."""

from typing import Dict

from mmthunder.runtime.sessions import ONNX_BACKENDS

# Arguments of open_session and of Detector.
RUNTIMES: Dict[str, Dict[str, str]] = {
    **{backend: dict(backend=backend) for backend in ONNX_BACKENDS},
    'openvino-bf16': dict(backend='openvino', precision='bf16'),
}
