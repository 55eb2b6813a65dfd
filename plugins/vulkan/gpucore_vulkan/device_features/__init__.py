"""What a device can do, in the order in which it is found out.

``physical_device``
    What the driver says: identity, limits, features, queues, memory types.
``discovery``
    The devices of this machine, without opening one.
``driver_faults``
    Faults known by the driver's name.
``targets``
    What code is compiled for, as far as the driver's word goes.
``probe_operations``, ``probe_sequences``, ``probe_loops``, ``probe_places``
    The questions that an opened device is asked: single operations, results consumed at once, long loops, indices.
``probes``
    The device's answers.
``probed_target``
    What code for the device is compiled for, its answers included; they are kept on disk.
``capabilities``
    What users and the core are told.
"""
