"""Production ML infrastructure on Kubernetes, taught by simulators that decide as the real controllers do."""

__version__ = "0.1.0"
