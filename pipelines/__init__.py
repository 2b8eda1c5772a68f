"""Commands on top of the engine and the surrogate: everything that touches the outside world."""

import os

# For TensorFlow, which reads them when it is imported. On the CPU it hands large arrays back to the
# system after every step and asks for them again, which costs up to half the time of a step; its
# other allocator keeps them. And its notices about instruction sets are no news to a user.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
