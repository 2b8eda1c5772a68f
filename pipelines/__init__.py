"""Commands built on the engine and the surrogate: everything that touches the outside world."""

import os

# TensorFlow reads these when it is imported. On the CPU it returns large arrays to the system after every
# step and allocates them again, which costs up to half the time of a step; its other allocator keeps them.
# Its notices about instruction sets do not concern a user.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
