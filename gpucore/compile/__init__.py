"""From a typed module to an executable: passes, the backend's compiler, the disk cache."""
